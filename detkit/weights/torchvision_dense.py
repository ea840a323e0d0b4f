"""Importing torchvision's RetinaNet and FCOS, weight for weight."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from functools import partial

from torch import Tensor

from detkit.backbones import TorchvisionBackbone
from detkit.errors import InputError
from detkit.heads import NMS, FCOSHead, RetinaNetHead
from detkit.models import FCOS, Detector, RetinaNet
from detkit.necks import FPN, StridedConvolutions
from detkit.weights.state_dict import Renames, counts_batches, load_all, rename_prefix
from detkit.weights.tensor_layout import Layout, roll_classes

Builder = Callable[[Mapping[str, Tensor]], Detector]

# torchvision truncates sizes such as 32 * 2^(1/3) to integers.
_ANCHOR_SIZES = [[int(size * 2 ** (third / 3)) for third in range(3)] for size in (32, 64, 128, 256, 512)]
_ANCHORS = 9  # of three sizes and three shapes
_PYRAMID = partial(FPN, extra_levels=StridedConvolutions)
_PYRAMID_ON_C5 = partial(FPN, extra_levels=partial(StridedConvolutions, from_backbone=True))
_RETINANET_HEAD = partial(
    RetinaNetHead, anchor_sizes=_ANCHOR_SIZES, background_logit=True, postprocess=NMS(detections=300)
)


def _retinanet_resnet50_fpn(state_dict: Mapping[str, Tensor]) -> RetinaNet:
    head = partial(_RETINANET_HEAD, box_loss="l1")
    return RetinaNet(_resnet50(state_dict), _num_classes(state_dict, _ANCHORS), _PYRAMID, head)


def _retinanet_resnet50_fpn_v2(state_dict: Mapping[str, Tensor]) -> RetinaNet:
    head = partial(_RETINANET_HEAD, box_loss="giou", group_norm=True)
    return RetinaNet(_resnet50(state_dict), _num_classes(state_dict, _ANCHORS), _PYRAMID_ON_C5, head)


def _fcos_resnet50_fpn(state_dict: Mapping[str, Tensor]) -> FCOS:
    head = partial(FCOSHead, location_offset=0.0, background_logit=True)
    return FCOS(_resnet50(state_dict), _num_classes(state_dict, 1), _PYRAMID, head)


def _resnet50(state_dict: Mapping[str, Tensor]) -> TorchvisionBackbone:
    return TorchvisionBackbone("resnet50", stages=[3, 4, 5], frozen_batch_norm=not counts_batches(state_dict))


def _num_classes(state_dict: Mapping[str, Tensor], anchors: int) -> int:
    if "head.classes.bias" not in state_dict:
        raise InputError("no head.classification_head.cls_logits.bias in the state dict: no RetinaNet, no FCOS")
    return len(state_dict["head.classes.bias"]) // anchors - 1


def _builder(name: str, build: Builder, layout: Layout) -> Builder:
    """A function from a state dict with torchvision's names to the detector of `build`, with these weights."""

    def loaded(state_dict: Mapping[str, Tensor]) -> Detector:
        ours = layout.ours(state_dict)
        model = build(ours)
        load_all(model, _with_biases(ours), f"torchvision's {name}")
        for bias in normalized_biases(model.state_dict()):  # zeros, which torchvision has no place for
            model.get_parameter(bias).requires_grad_(False)
        return model

    return loaded


def _layout(renames: Renames, anchors: int) -> Layout:
    def names(theirs: Collection[str]) -> dict[str, str]:
        return {name: rename_prefix(name, renames) for name in theirs}

    def to_ours(name: str, tensor: Tensor) -> Tensor:
        if not name.startswith("head.classes."):
            return tensor
        if len(tensor) % anchors:
            raise InputError(
                f"head.classification_head.cls_logits has {len(tensor)} outputs for {anchors} anchors in a cell"
            )
        return roll_classes(tensor, anchors, -1)

    def to_theirs(name: str, tensor: Tensor) -> Tensor:
        return roll_classes(tensor, anchors, 1) if name.startswith("head.classes.") else tensor

    return Layout(names, to_ours, to_theirs)


def _with_biases(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict with zeros for biases that torchvision lacks before a normalization."""
    zeros = {
        name.replace(".0.weight", ".0.bias"): tensor.new_zeros(len(tensor))
        for name, tensor in state_dict.items()
        if "_tower." in name and name.endswith(".0.weight")
    }
    return {**zeros, **state_dict}


def normalized_biases(state_dict: Mapping[str, Tensor]) -> list[str]:
    """Our names of the biases of the towers of ``retinanet_resnet50_fpn_v2``, which torchvision's lack."""
    is_retinanet = "head.deltas.weight" in state_dict  # FCOS has these biases
    return [
        name
        for name in state_dict
        if is_retinanet and re.fullmatch(r"head\.(class|box)_tower\.\d\.0\.bias", name)
        if name.replace(".0.bias", ".1.bias") in state_dict
    ]


# torchvision 0.13 wrapped single convolutions in one-element sequences; older files have no such ".0".
_OF_BOTH: Renames = (
    (r"backbone\.body\.", "backbone.trunk."),
    (r"backbone\.fpn\.inner_blocks\.(\d+)(?:\.0)?\.", r"neck.lateral.\1."),
    (r"backbone\.fpn\.layer_blocks\.(\d+)(?:\.0)?\.", r"neck.output.\1."),
    (r"backbone\.fpn\.extra_blocks\.", "neck.extra_levels."),
    (r"head\.classification_head\.cls_logits\.", "head.classes."),
)
_OF_RETINANET: Renames = (
    *_OF_BOTH,
    (r"head\.regression_head\.bbox_reg\.", "head.deltas."),
    (r"head\.classification_head\.conv\.(\d+\.\d+\.)", r"head.class_tower.\1"),
    (r"head\.regression_head\.conv\.(\d+\.\d+\.)", r"head.box_tower.\1"),
    # Until 0.12 every other module was a ReLU.
    (r"head\.classification_head\.conv\.(\d+)\.", lambda match: f"head.class_tower.{int(match[1]) // 2}.0."),
    (r"head\.regression_head\.conv\.(\d+)\.", lambda match: f"head.box_tower.{int(match[1]) // 2}.0."),
)
_OF_FCOS: Renames = (
    *_OF_BOTH,
    (r"head\.regression_head\.bbox_reg\.", "head.distances."),
    (r"head\.regression_head\.bbox_ctrness\.", "head.centerness."),
    # Convolution, normalization and ReLU in turn.
    (r"head\.classification_head\.conv\.(\d+)\.", lambda match: f"head.class_tower.{_of_three(int(match[1]))}."),
    (r"head\.regression_head\.conv\.(\d+)\.", lambda match: f"head.box_tower.{_of_three(int(match[1]))}."),
)


def _of_three(position: int) -> str:
    return f"{position // 3}.{position % 3}"


_RETINANET = _layout(_OF_RETINANET, _ANCHORS)
_ALL: dict[str, tuple[Builder, Layout]] = {
    "retinanet_resnet50_fpn": (_retinanet_resnet50_fpn, _RETINANET),
    "retinanet_resnet50_fpn_v2": (_retinanet_resnet50_fpn_v2, _RETINANET),
    "fcos_resnet50_fpn": (_fcos_resnet50_fpn, _layout(_OF_FCOS, anchors=1)),
}
BUILDERS: dict[str, Builder] = {name: _builder(name, build, layout) for name, (build, layout) in _ALL.items()}
"""By torchvision's name: from a state dict of torchvision to the detkit detector with these weights."""
LAYOUTS = {name: layout for name, (_, layout) in _ALL.items()}
"""By torchvision's name, how its tensors become ours and ours become its."""
