"""torchvision's detectors as detkit's, weight for weight."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial

import torch
import torchvision
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from detkit.backbones import TorchvisionBackbone
from detkit.errors import InputError
from detkit.heads import KeypointHead
from detkit.models import Detector, FasterRCNN, KeypointRCNN, MaskRCNN, RegionAlign
from detkit.structures import Category


def from_torchvision(name: str, state_dict: Mapping[str, Tensor] | None = None, weights: str | None = None) -> Detector:
    """A detkit model that gives the same detections and losses as torchvision's with the same weights.

    torchvision's label ``c`` is detkit's ``c - 1``; its background class 0 becomes the last logit. Batch norm is
    trained if `state_dict` counts its batches (``num_batches_tracked``), as in a model made without pretrained
    weights, and frozen otherwise.

    Args:
        name: ``fasterrcnn_resnet50_fpn``, ``maskrcnn_resnet50_fpn`` or ``keypointrcnn_resnet50_fpn``.
        state_dict: weights with torchvision's names, also with those of its older releases.
        weights: the name of published weights, which torchvision downloads: ``DEFAULT`` or ``COCO_V1``.

    Raises:
        InputError: unknown name, both or neither of `state_dict` and `weights`, or tensors that do not fit.
    """
    if name not in _BUILDERS:
        raise InputError(f"cannot import torchvision's {name!r}, only {', '.join(_BUILDERS)}")
    if (state_dict is None) == (weights is None):
        raise InputError("from_torchvision needs either a state_dict or the name of published weights")
    categories, epsilon = None, None
    if weights is not None:
        published = torchvision.models.detection.__dict__[name](weights=weights)
        state_dict, epsilon = published.state_dict(), _batch_norm_epsilon(published)
        categories = _categories(torchvision.models.get_model_weights(name)[weights].meta["categories"])
    renamed = _renamed(state_dict)
    model = _BUILDERS[name](renamed)
    _load(model, renamed, f"torchvision's {name}")
    if epsilon is not None:
        _set_batch_norm_epsilon(model, epsilon)
    model.categories = categories
    return model


def _resnet50(state_dict: Mapping[str, Tensor]) -> TorchvisionBackbone:
    return TorchvisionBackbone("resnet50", frozen_batch_norm=not _counts_batches(state_dict))


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


_BUILDERS: dict[str, Callable[[Mapping[str, Tensor]], Detector]] = {
    "fasterrcnn_resnet50_fpn": _faster_rcnn_resnet50_fpn,
    "maskrcnn_resnet50_fpn": _mask_rcnn_resnet50_fpn,
    "keypointrcnn_resnet50_fpn": _keypoint_rcnn_resnet50_fpn,
}

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


def _counts_batches(state_dict: Mapping[str, Tensor]) -> bool:
    return any(name.endswith("num_batches_tracked") for name in state_dict)


def _load(model: nn.Module, state_dict: Mapping[str, Tensor], source: str) -> None:
    try:
        model.load_state_dict(state_dict)
    except RuntimeError as error:
        raise InputError(f"the state dict does not fit {source}: {error}") from error


def _batch_norm_epsilon(model: nn.Module) -> float:
    return next(module.eps for module in model.modules() if isinstance(module, torchvision.ops.FrozenBatchNorm2d))


def _set_batch_norm_epsilon(model: nn.Module, epsilon: float) -> None:
    """Some published weights were trained without the small constant that keeps batch norm from dividing by zero."""
    for module in model.modules():
        if isinstance(module, FrozenBatchNorm2d):
            module.eps = epsilon


def _categories(names: list[str]) -> list[Category]:
    return [Category(category_id, name) for category_id, name in enumerate(names) if category_id > 0]
