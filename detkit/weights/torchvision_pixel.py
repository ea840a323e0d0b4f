"""Importing torchvision's networks for segmentation, weight for weight."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Literal

from torch import Tensor

from detkit.backbones import TorchvisionBackbone
from detkit.errors import InputError
from detkit.heads import DeepLabV3Head, FCNHead
from detkit.models import FCN, LRASPP, DeepLabV3, SegmentationModel
from detkit.models.pixel.segmentation_model import MakePixelHead
from detkit.weights.state_dict import Renames, load_all, rename_prefix
from detkit.weights.tensor_layout import Layout

Builder = Callable[[Mapping[str, Tensor]], SegmentationModel]
SegmentationName = Literal[
    "fcn_resnet50",
    "fcn_resnet101",
    "deeplabv3_resnet50",
    "deeplabv3_resnet101",
    "deeplabv3_mobilenet_v3_large",
    "lraspp_mobilenet_v3_large",
]
"""The names of `BUILDERS`, for type checkers."""

_RATES = (12, 24, 36)  # of all, also at stride 16
# torchvision takes the first block of stride 8, and the last one.
_MOBILENET_BLOCKS = ("features.4", "features.16")


def _fcn(resnet: str, state_dict: Mapping[str, Tensor]) -> FCN:
    auxiliary = _auxiliary(state_dict, "c4")
    backbone = _resnet(resnet, [4, 5] if auxiliary else [5])
    return FCN(backbone, _num_classes(state_dict, "head.classes.bias"), auxiliary=auxiliary)


def _deeplabv3(resnet: str, state_dict: Mapping[str, Tensor]) -> DeepLabV3:
    auxiliary = _auxiliary(state_dict, "c4")
    backbone = _resnet(resnet, [4, 5] if auxiliary else [5])
    head = partial(DeepLabV3Head, rates=_RATES)
    return DeepLabV3(backbone, _num_classes(state_dict, "head.classes.bias"), head, auxiliary)


def _deeplabv3_mobilenet(state_dict: Mapping[str, Tensor]) -> DeepLabV3:
    auxiliary = _auxiliary(state_dict, "c3")
    backbone = _mobilenet(_MOBILENET_BLOCKS if auxiliary else _MOBILENET_BLOCKS[1:])
    head = partial(DeepLabV3Head, rates=_RATES)
    return DeepLabV3(backbone, _num_classes(state_dict, "head.classes.bias"), head, auxiliary)


def _lraspp_mobilenet(state_dict: Mapping[str, Tensor]) -> LRASPP:
    return LRASPP(_mobilenet(_MOBILENET_BLOCKS), _num_classes(state_dict, "head.low_classes.bias"))


def _resnet(name: str, stages: Sequence[int]) -> TorchvisionBackbone:
    return TorchvisionBackbone(name, stages=stages, output_stride=8)


def _mobilenet(blocks: Sequence[str]) -> TorchvisionBackbone:
    return TorchvisionBackbone("mobilenet_v3_large", blocks=blocks, output_stride=16)


def _auxiliary(state_dict: Mapping[str, Tensor], name: str) -> dict[str, MakePixelHead]:
    """The head of a model that was made with ``aux_loss``."""
    is_there = f"auxiliary.{name}.classes.bias" in state_dict
    return {name: partial(FCNHead, level=-2)} if is_there else {}


def _num_classes(state_dict: Mapping[str, Tensor], name: str) -> int:
    if name not in state_dict:
        raise InputError("no classifier in the state dict: it is of no network for segmentation")
    return len(state_dict[name])


def _builder(name: str, build: Builder, layout: Layout) -> Builder:
    """A function from a state dict with torchvision's names to the detkit model of `build`, with these weights."""

    def loaded(state_dict: Mapping[str, Tensor]) -> SegmentationModel:
        ours = layout.ours(state_dict)
        model = build(ours)
        load_all(model, ours, f"torchvision's {name}")
        return model

    return loaded


def _layout(*renames: Renames) -> Layout:
    together = [one for some in renames for one in some]

    def names(theirs: Collection[str]) -> dict[str, str]:
        return {name: rename_prefix(name, together) for name in theirs}

    return Layout(names, _unchanged, _unchanged)


def _unchanged(name: str, tensor: Tensor) -> Tensor:
    return tensor


def _fcn_head(theirs: str, ours: str) -> Renames:
    return (
        (rf"{theirs}\.0\.", f"{ours}.conv."),
        (rf"{theirs}\.1\.", f"{ours}.norm."),
        (rf"{theirs}\.4\.", f"{ours}.classes."),
    )


_RESNET: Renames = ((r"backbone\.", "backbone.trunk."), *_fcn_head("aux_classifier", "auxiliary.c4"))
_MOBILENET: Renames = ((r"backbone\.", "backbone.trunk.features."), *_fcn_head("aux_classifier", "auxiliary.c3"))
_DEEPLAB: Renames = (
    (r"classifier\.0\.convs\.0\.", "head.aspp.pointwise."),
    (r"classifier\.0\.convs\.([123])\.", lambda match: f"head.aspp.atrous.{int(match[1]) - 1}."),
    # The pooling is torchvision's first layer.
    (r"classifier\.0\.convs\.4\.([12])\.", lambda match: f"head.aspp.image.{int(match[1]) - 1}."),
    (r"classifier\.0\.project\.", "head.aspp.project."),
    (r"classifier\.1\.", "head.conv.0."),
    (r"classifier\.2\.", "head.conv.1."),
    (r"classifier\.4\.", "head.classes."),
)
_LRASPP: Renames = (
    (r"classifier\.cbr\.", "head.high."),
    (r"classifier\.scale\.1\.", "head.gate."),
    (r"classifier\.low_classifier\.", "head.low_classes."),
    (r"classifier\.high_classifier\.", "head.high_classes."),
)
_ALL: dict[str, tuple[Builder, Layout]] = {
    "fcn_resnet50": (partial(_fcn, "resnet50"), _layout(_RESNET, _fcn_head("classifier", "head"))),
    "fcn_resnet101": (partial(_fcn, "resnet101"), _layout(_RESNET, _fcn_head("classifier", "head"))),
    "deeplabv3_resnet50": (partial(_deeplabv3, "resnet50"), _layout(_RESNET, _DEEPLAB)),
    "deeplabv3_resnet101": (partial(_deeplabv3, "resnet101"), _layout(_RESNET, _DEEPLAB)),
    "deeplabv3_mobilenet_v3_large": (_deeplabv3_mobilenet, _layout(_MOBILENET, _DEEPLAB)),
    "lraspp_mobilenet_v3_large": (_lraspp_mobilenet, _layout(_MOBILENET, _LRASPP)),
}
BUILDERS: dict[str, Builder] = {name: _builder(name, build, layout) for name, (build, layout) in _ALL.items()}
"""By torchvision's name: from a state dict of torchvision to the detkit model with these weights."""
LAYOUTS = {name: layout for name, (_, layout) in _ALL.items()}
"""By torchvision's name, how its tensors become ours and ours become its."""
