"""The catalog of backbones since AlexNet, with their cost and accuracy: a table and a plot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from torch.utils.flop_counter import FlopCounterMode

from detkit.backbones.alexnet import AlexNet
from detkit.backbones.backbone import Backbone
from detkit.backbones.classifiers import OWN, classifier
from detkit.backbones.darknet import Darknet19
from detkit.backbones.overfeat import OverFeatAccurate, OverFeatFast
from detkit.backbones.timm_backbone import TimmBackbone
from detkit.backbones.torchvision_backbone import TorchvisionBackbone
from detkit.backbones.zfnet import ZFNet
from detkit.files import open_whole, write_whole

_OWN: dict[str, Callable[[], Backbone]] = {
    "alexnet_two_towers": AlexNet,
    "zfnet": ZFNet,
    "overfeat_fast": OverFeatFast,
    "overfeat_accurate": OverFeatAccurate,
    "darknet19": lambda: Darknet19(stages=(2, 3, 4, 5)),
}

# Numbers that are not torchvision's: top-1 accuracy of a single crop in percent, and who published it.
_PUBLISHED = {
    "alexnet_two_towers": (59.3, "Krizhevsky 2012"),
    "zfnet": (61.6, "Zeiler & Fergus 2013"),
    "overfeat_fast": (60.7, "Sermanet 2013"),
    "overfeat_accurate": (64.3, "Sermanet 2013, at four scales"),
    "darknet19": (74.1, "Redmon & Farhadi 2018"),
    "darknet53": (77.2, "Redmon & Farhadi 2018"),
    "cspdarknet53": (80.1, "timm"),
    "mobilenetv1_100": (70.6, "Howard 2017"),
    "legacy_seresnet18": (71.8, "timm"),
    "legacy_seresnet34": (74.8, "timm"),
    "legacy_seresnet50": (77.6, "timm"),
    "legacy_seresnet101": (78.4, "timm"),
    "legacy_seresnet152": (78.7, "timm"),
    "legacy_seresnext50_32x4d": (79.1, "timm"),
    "legacy_seresnext101_32x4d": (79.3, "Hu 2018"),
}

FAMILIES = {
    "AlexNet": ["alexnet", "alexnet_two_towers"],
    "ZFNet": ["zfnet"],
    "OverFeat": ["overfeat_fast", "overfeat_accurate"],
    "VGG": ["vgg11", "vgg13", "vgg16", "vgg19"],
    "GoogLeNet": ["googlenet"],
    "ResNet": ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"],
    "ResNeXt": ["resnext50_32x4d", "resnext101_32x8d"],
    "Wide ResNet": ["wide_resnet50_2", "wide_resnet101_2"],
    "DenseNet": ["densenet121", "densenet161", "densenet169", "densenet201"],
    "SE-ResNet": [f"legacy_seresnet{depth}" for depth in (18, 34, 50, 101, 152)],
    "SE-ResNeXt": ["legacy_seresnext50_32x4d", "legacy_seresnext101_32x4d"],
    "SqueezeNet": ["squeezenet1_0", "squeezenet1_1"],
    "MobileNet": ["mobilenetv1_100", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large"],
    "Darknet": ["darknet19", "darknet53", "cspdarknet53"],
}


@dataclass(frozen=True)
class Entry:
    """One backbone: the cost of the whole classifier at its training size, and the maps that a detector gets."""

    family: str
    name: str
    source: str
    size: int
    parameters: int
    multiply_adds: int
    strides: list[int]
    channels: list[int]
    top1: float | None
    published_by: str


def backbone(name: str) -> Backbone:
    """The backbone `name` without its classifier, with all of its stages from stride 4 on."""
    if name in OWN:
        return _OWN[name]()
    return TimmBackbone(name) if source(name) == "timm" else TorchvisionBackbone(name)


def source(name: str) -> str:
    """The package that the backbone comes from: detkit, torchvision or timm."""
    if name in OWN:
        return "detkit"
    return "torchvision" if name in torchvision.models.list_models(module=torchvision.models) else "timm"


def catalog() -> list[Entry]:
    """All entries, measured without data or weights."""
    return [_entry(family, name) for family, names in FAMILIES.items() for name in names]


def _entry(family: str, name: str) -> Entry:
    with torch.device("meta"):
        net = classifier(name).eval()
        size = getattr(net, "training_size", None) or _size(name)
        with FlopCounterMode(display=False) as counter:
            net(torch.empty(1, 3, size, size))
        maps = backbone(name)
    top1, published_by = _PUBLISHED.get(name) or _top1_of_torchvision(name)
    return Entry(
        family=family,
        name=name,
        source=source(name),
        size=size,
        parameters=_used_parameters(name, net),
        multiply_adds=counter.get_total_flops() // 2,
        strides=maps.strides,
        channels=maps.channels,
        top1=top1,
        published_by=published_by,
    )


def _size(name: str) -> int:
    published = timm.get_pretrained_cfg(name) if source(name) == "timm" else None
    return published.input_size[-1] if published is not None else 224


def _used_parameters(name: str, net: torch.nn.Module) -> int:
    """The number of parameters without GoogLeNet's auxiliary classifiers, which are only for training."""
    return sum(parameter.numel() for own, parameter in net.named_parameters() if not own.startswith(("aux1.", "aux2.")))


def _top1_of_torchvision(name: str) -> tuple[float | None, str]:
    """The accuracy of torchvision's first weights, which are trained as in the papers."""
    if source(name) != "torchvision":
        return None, ""
    first = next(iter(torchvision.models.get_model_weights(name)))
    return first.meta["_metrics"]["ImageNet-1K"]["acc@1"], "torchvision"


_HEAD = """# Backbones

Use a backbone by its name:

```python
from detkit.backbones import TimmBackbone, TorchvisionBackbone, classifier, fully_convolutional

backbone = TorchvisionBackbone("resnet50")  # the feature maps, for a detector
backbone = TimmBackbone("mobilenetv1_100")
net = classifier("squeezenet1_1")  # the whole classifier
windows = fully_convolutional(net)  # classifies every window of an image
```

In a config: `backbone: {class_path: TorchvisionBackbone, init_args: {name: resnet50, weights: DEFAULT}}`. Backbones
with source `detkit` are classes in `detkit.backbones`.

- **Parameters, multiply-adds**: of the whole classifier, for one image of the size that it was trained with.
- **Strides, channels**: of the maps that a detector gets, finest first. You can select a stage of every stride.
- **Top-1**: accuracy on ImageNet in percent for a single crop, as published: by torchvision for its first weights, by
  timm in its table of results, or in the paper.

The table and the plot are written by `python tools/backbones.py`.

![Accuracy against multiply-adds](images/backbones.png)

| family | name | source | size | parameters, M | multiply-adds, G | stages | strides | channels | top-1 | by |
|---|---|---|---|---|---|---|---|---|---|---|
"""


def write_page(entries: list[Entry], page: Path) -> None:
    """Write the table to `page` and the plot next to it, to ``images/backbones.png``."""
    rows = [
        f"| {one.family} | `{one.name}` | {one.source} | {one.size} | {one.parameters / 1e6:.1f} "
        f"| {one.multiply_adds / 1e9:.2f} | {len(one.strides)} | {_listed(one.strides)} | {_listed(one.channels)} "
        f"| {one.top1 or 0:.1f} | {one.published_by} |".replace("| 0.0 |", "| |")
        for one in entries
    ]
    write_whole(page, _HEAD + "\n".join(rows) + "\n")
    plot(entries, page.parent / "images" / "backbones.png")


def _listed(numbers: list[int]) -> str:
    return " ".join(map(str, numbers))


def plot(entries: list[Entry], path: Path) -> None:
    """Plot accuracy against multiply-adds; the area of each disc shows the number of parameters."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(11, 7))
    colors = pyplot.get_cmap("tab20")
    with_accuracy = [one for one in entries if one.top1 is not None]
    for index, family in enumerate(dict.fromkeys(one.family for one in with_accuracy)):
        of_family = [one for one in with_accuracy if one.family == family]
        axes.scatter(
            [one.multiply_adds / 1e9 for one in of_family],
            [one.top1 or 0.0 for one in of_family],
            s=[one.parameters / 1e6 * 5 for one in of_family],
            color=colors(index),
            alpha=0.6,
            label=family,
        )
    for one in with_accuracy:
        axes.annotate(one.name, (one.multiply_adds / 1e9, one.top1 or 0.0), fontsize=6, ha="center", va="center")
    axes.set_xscale("log")
    axes.set_xlabel("multiply-adds (G)")
    axes.set_ylabel("top-1 on ImageNet (%)")
    axes.set_title("Area by parameters")
    axes.grid(alpha=0.3)
    legend = axes.legend(loc="lower right", fontsize=8, ncols=2)
    handles: list[Any] = legend.legend_handles  # those of scatter plots, which have sizes
    for handle in handles:
        handle.set_sizes([40])
    figure.tight_layout()
    with open_whole(path) as file:
        figure.savefig(file, format="png", dpi=110)
    pyplot.close(figure)
