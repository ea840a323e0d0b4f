"""torchvision's two-stage detectors as detkit's, weight for weight."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from detkit.backbones import TorchvisionBackbone
from detkit.errors import InputError
from detkit.heads import KeypointHead
from detkit.models import Detector, FasterRCNN, KeypointRCNN, MaskRCNN, RegionAlign
from detkit.weights.loading import counts_batches, load_all

Builder = Callable[[Mapping[str, Tensor]], Detector]


def _resnet50(state_dict: Mapping[str, Tensor]) -> TorchvisionBackbone:
    return TorchvisionBackbone("resnet50", frozen_batch_norm=not counts_batches(state_dict))


def _faster_rcnn_resnet50_fpn(state_dict: Mapping[str, Tensor]) -> FasterRCNN:
    return FasterRCNN(_resnet50(state_dict), _num_classes(state_dict), region_pool=RegionAlign(aligned=False))


def _mask_rcnn_resnet50_fpn(state_dict: Mapping[str, Tensor]) -> MaskRCNN:
    return MaskRCNN(_resnet50(state_dict), _num_classes(state_dict), region_pool=RegionAlign(aligned=False))


def _keypoint_rcnn_resnet50_fpn(state_dict: Mapping[str, Tensor]) -> KeypointRCNN:
    name = "branches.keypoint.deconvolution.bias"
    if name not in state_dict:
        raise InputError("no roi_heads.keypoint_predictor in the state dict: it is no Keypoint R-CNN")
    return KeypointRCNN(
        _resnet50(state_dict),
        _num_classes(state_dict),
        partial(KeypointHead, num_keypoints=len(state_dict[name])),
        region_pool=RegionAlign(aligned=False),
    )


def _builder(name: str, build: Builder) -> Builder:
    """From a state dict with torchvision's names to the detector that `build` makes for it, loaded."""

    def loaded(state_dict: Mapping[str, Tensor]) -> Detector:
        renamed = _renamed(state_dict)
        model = build(renamed)
        load_all(model, renamed, f"torchvision's {name}")
        return model

    return loaded


BUILDERS: dict[str, Builder] = {
    name: _builder(name, build)
    for name, build in {
        "fasterrcnn_resnet50_fpn": _faster_rcnn_resnet50_fpn,
        "maskrcnn_resnet50_fpn": _mask_rcnn_resnet50_fpn,
        "keypointrcnn_resnet50_fpn": _keypoint_rcnn_resnet50_fpn,
    }.items()
}
"""By torchvision's name: from a state dict of torchvision to the detkit detector with these weights."""

# torchvision 0.13 wrapped single convolutions in one-element sequences; older files have no such ".0".
_RENAMES = [
    (r"backbone\.body\.", "backbone.trunk."),
    (r"backbone\.fpn\.inner_blocks\.(\d+)(?:\.0)?\.", r"neck.lateral.\1."),
    (r"backbone\.fpn\.layer_blocks\.(\d+)(?:\.0)?\.", r"neck.output.\1."),
    (r"rpn\.head\.conv\.(?:(\d+)\.0\.)?", lambda found: f"rpn.convolutions.{found[1] or 0}."),
    (r"rpn\.head\.cls_logits\.", "rpn.objectness."),
    (r"rpn\.head\.bbox_pred\.", "rpn.deltas."),
    (r"roi_heads\.box_head\.", "box_head.trunk."),
    (r"roi_heads\.box_predictor\.cls_score\.", "box_head.classes."),
    (r"roi_heads\.box_predictor\.bbox_pred\.", "box_head.deltas."),
    (r"roi_heads\.mask_head\.(\d+)\.", r"branches.mask.convolutions.\1."),
    (r"roi_heads\.mask_head\.mask_fcn(\d+)\.", lambda found: f"branches.mask.convolutions.{int(found[1]) - 1}.0."),
    (r"roi_heads\.mask_predictor\.conv5_mask\.", "branches.mask.deconvolution."),
    (r"roi_heads\.mask_predictor\.mask_fcn_logits\.", "branches.mask.logits."),
    # Every other module of that sequence is a ReLU.
    (r"roi_heads\.keypoint_head\.(\d+)\.", lambda found: f"branches.keypoint.convolutions.{int(found[1]) // 2}."),
    (r"roi_heads\.keypoint_predictor\.kps_score_lowres\.", "branches.keypoint.deconvolution."),
]


def _renamed(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    renamed = {}
    for name, tensor in state_dict.items():
        for pattern, replacement in _RENAMES:
            name, found = re.subn(f"^{pattern}", replacement, name)
            if found:
                break
        renamed[name] = _reordered(name, tensor)
    return renamed


def _reordered(name: str, tensor: Tensor) -> Tensor:
    """Background last among the logits, and neither box regression nor mask for it."""
    if name.startswith("box_head.classes."):
        return torch.cat((tensor[1:], tensor[:1]))
    if name.startswith("box_head.deltas."):
        return tensor[4:]
    if name.startswith("branches.mask.logits."):
        return tensor[1:]
    return tensor


def _num_classes(state_dict: Mapping[str, Tensor]) -> int:
    if "box_head.classes.bias" not in state_dict:
        raise InputError("no roi_heads.box_predictor.cls_score.bias in the state dict: it is no torchvision detector")
    return len(state_dict["box_head.classes.bias"]) - 1
