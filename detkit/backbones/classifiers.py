"""Classification networks by name: detkit's own, torchvision's and timm's."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

import timm
import torchvision
from torch import Tensor, nn

from detkit.backbones.alexnet import AlexNet
from detkit.backbones.backbone import Backbone
from detkit.backbones.darknet import Darknet19
from detkit.backbones.overfeat import OverFeatAccurate, OverFeatFast
from detkit.backbones.pretrained import download, load_matching, read_state_dict
from detkit.backbones.published import timm_file, torchvision_file
from detkit.backbones.torchvision_backbone import create_net, transform_inputs
from detkit.backbones.weights_sources import classifier_source
from detkit.backbones.zfnet import ZFNet
from detkit.deprecation.renamed_arguments import takes_old_names
from detkit.errors import InputError

IMAGENET_CLASSES = 1000


class PooledClassifier(nn.Module):
    """Global average pooling of a backbone's coarsest map, and one linear layer.

    Args:
        backbone: any backbone.
        num_classes: outputs.
    """

    @takes_old_names
    def __init__(self, backbone: Backbone, num_classes: int) -> None:
        super().__init__()
        self.trunk = backbone
        self.classes = nn.Linear(backbone.channels[-1], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Class logits ``(B, num_classes)`` of `images` ``(B, 3, H, W)``."""
        logits: Tensor = self.classes(self.trunk(images)[-1].mean(dim=(2, 3)))
        return logits


OWN: dict[str, Callable[[int], nn.Module]] = {
    "alexnet_two_towers": lambda num_classes: AlexNet(num_classes).as_classifier(),
    "zfnet": lambda num_classes: ZFNet(num_classes).as_classifier(),
    "overfeat_fast": lambda num_classes: OverFeatFast(num_classes).as_classifier(),
    "overfeat_accurate": lambda num_classes: OverFeatAccurate(num_classes).as_classifier(),
    "darknet19": lambda num_classes: PooledClassifier(Darknet19(stages=[5]), num_classes),
}
"""The networks that neither torchvision nor timm has, by name."""


def classifier(name: str, num_classes: int = IMAGENET_CLASSES, weights: str | None = None) -> nn.Module:
    """The whole network `name`, from images ``(B, 3, H, W)`` to class logits ``(B, num_classes)``.

    Parameters have the names of the library that the network comes from, so that its weight files load. In training
    GoogLeNet and Inception also return the logits of their auxiliary classifiers, as torchvision's do.

    Args:
        name: one of `OWN`; else a classification network of torchvision; else a model of timm.
        num_classes: outputs of the last layer. If the weights file has another number, the last layer stays as
            initialized, with a warning.
        weights: None for random weights, ``DEFAULT`` for the library's download, or the path of a weights file.

    Raises:
        InputError: unknown name, weights that cannot be downloaded, or a weights file that does not fit.
    """
    if weights == "DEFAULT":
        is_torchvision = name in torchvision.models.list_models(module=torchvision.models)
        file = torchvision_file(name) if is_torchvision else None if name in OWN else timm_file(name)
        net = download(name, lambda: _published(name, num_classes), file)
    else:
        net = _create(name, num_classes)
        if weights is not None:
            load_matching(net, read_state_dict(weights), source=str(weights))
    if weights is not None:
        vars(net)["weights_source"] = classifier_source(name, weights)
    return net


def zero_last_gamma(net: nn.Module) -> None:
    """Set the scale of the last normalization of each residual block to zero, so that the block starts as the identity
    (Goyal 2017, section 5.1).

    Raises:
        InputError: `net` has no residual block of torchvision or timm.
    """
    blocks = 0
    for module in net.modules():
        last = next((norm for name in ("bn3", "bn2") if (norm := getattr(module, name, None)) is not None), None)
        scale = getattr(last, "weight", None)
        if hasattr(module, "downsample") and scale is not None:
            nn.init.zeros_(scale)
            blocks += 1
    if not blocks:
        raise InputError(f"zero_gamma is for nets of residual blocks with batch norm, {type(net).__name__} has none")


def _create(name: str, num_classes: int) -> nn.Module:
    if name in OWN:
        return OWN[name](num_classes)
    if name in torchvision.models.list_models(module=torchvision.models):
        return _of_torchvision(name, num_classes=num_classes)
    if timm.is_model(name):
        return timm.create_model(name, num_classes=num_classes)
    names = [*OWN, *torchvision.models.list_models(module=torchvision.models), *timm.list_models()]
    close = ", ".join(get_close_matches(name, names, n=3, cutoff=0.4)) or "none"
    raise InputError(f"there is no classification net {name!r}; close to it: {close}")


def _published(name: str, num_classes: int) -> nn.Module:
    if name in OWN:
        raise InputError("detkit publishes no weights")
    if name in torchvision.models.list_models(module=torchvision.models):
        published = _of_torchvision(name, weights="DEFAULT")
    else:
        published = timm.create_model(name, pretrained=True)
    if num_classes == IMAGENET_CLASSES:
        return published
    net = _create(name, num_classes)
    load_matching(net, published.state_dict(), source=f"the published weights of {name}")
    return net


def _of_torchvision(name: str, **options: Any) -> nn.Module:
    net = create_net(name, **options)
    transform_inputs(net)
    return net
