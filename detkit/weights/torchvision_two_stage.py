"""Importing torchvision's two-stage detectors, weight for weight."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from detkit.backbones import TorchvisionBackbone
from detkit.errors import InputError
from detkit.heads import NMS, RPN, BoxHead, ConvolutionsThenFullyConnected, KeypointHead, MaskHead
from detkit.models import Detector, FasterRCNN, KeypointRCNN, MaskRCNN, RegionAlign
from detkit.necks import FPN
from detkit.preprocess import Preprocess, ShortestEdge
from detkit.weights.state_dict import Renames, counts_batches, load_all, rename_prefix
from detkit.weights.tensor_layout import Layout

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


# The second versions have batch norm everywhere and deeper heads (Li 2021, appendix A.1).
_SECOND_VERSION: dict[str, Any] = {
    "neck": partial(FPN, batch_norm=True),
    "rpn": partial(RPN, convolutions=2),
    "box_head": partial(BoxHead, trunk=ConvolutionsThenFullyConnected),
}


def _faster_rcnn_resnet50_fpn_v2(state_dict: Mapping[str, Tensor]) -> FasterRCNN:
    pool = RegionAlign(aligned=False)
    return FasterRCNN(_resnet50(state_dict), _num_classes(state_dict), region_pool=pool, **_SECOND_VERSION)


def _mask_rcnn_resnet50_fpn_v2(state_dict: Mapping[str, Tensor]) -> MaskRCNN:
    return MaskRCNN(
        _resnet50(state_dict),
        _num_classes(state_dict),
        mask_head=partial(MaskHead, batch_norm=True),
        region_pool=RegionAlign(aligned=False),
        **_SECOND_VERSION,
    )


# Five sizes at each of C4's expansion, C5 and P6, all with strides of 32 and more.
_MobileRPN = partial(
    RPN,
    anchor_sizes=[[32, 64, 128, 256, 512]] * 3,
    postprocess=NMS(score_threshold=0.05),
    postprocess_for_training=NMS(score_threshold=0.05),
)


def _faster_rcnn_mobilenet_v3_large_fpn(
    state_dict: Mapping[str, Tensor],
    rpn: Callable[[list[int], list[int]], RPN] = _MobileRPN,
    preprocess: Preprocess | None = None,
) -> FasterRCNN:
    backbone = TorchvisionBackbone(
        "mobilenet_v3_large",
        frozen_batch_norm=not counts_batches(state_dict),
        blocks=["features.13", "features.16"],
        batch_norm_epsilon=1e-5,  # the classifier has 1e-3
    )
    return FasterRCNN(
        backbone,
        _num_classes(state_dict),
        rpn=rpn,
        region_pool=RegionAlign(aligned=False),
        preprocess=preprocess,
    )


def _faster_rcnn_mobilenet_v3_large_320_fpn(state_dict: Mapping[str, Tensor]) -> FasterRCNN:
    return _faster_rcnn_mobilenet_v3_large_fpn(
        state_dict,
        rpn=partial(_MobileRPN, postprocess=NMS(score_threshold=0.05, candidates=150, detections=150)),
        preprocess=ShortestEdge(320, 640),
    )


def _builder(name: str, build: Builder) -> Builder:
    """A function from a state dict with torchvision's names to the detector of `build`, with these weights."""

    def loaded(state_dict: Mapping[str, Tensor]) -> Detector:
        ours = _LAYOUT.ours(state_dict)
        model = build(ours)
        load_all(model, ours, f"torchvision's {name}")
        return model

    return loaded


BUILDERS: dict[str, Builder] = {
    name: _builder(name, build)
    for name, build in {
        "fasterrcnn_resnet50_fpn": _faster_rcnn_resnet50_fpn,
        "maskrcnn_resnet50_fpn": _mask_rcnn_resnet50_fpn,
        "keypointrcnn_resnet50_fpn": _keypoint_rcnn_resnet50_fpn,
        "fasterrcnn_resnet50_fpn_v2": _faster_rcnn_resnet50_fpn_v2,
        "maskrcnn_resnet50_fpn_v2": _mask_rcnn_resnet50_fpn_v2,
        "fasterrcnn_mobilenet_v3_large_fpn": _faster_rcnn_mobilenet_v3_large_fpn,
        "fasterrcnn_mobilenet_v3_large_320_fpn": _faster_rcnn_mobilenet_v3_large_320_fpn,
    }.items()
}
"""By torchvision's name, a function from its state dict to the detkit detector with these weights."""

# torchvision 0.13 wrapped single convolutions in one-element sequences; older files lack the ".0".
_UNWRAPPED: Renames = [
    (r"backbone\.fpn\.inner_blocks\.(\d+)\.0\.", r"neck.lateral.\1."),
    (r"backbone\.fpn\.layer_blocks\.(\d+)\.0\.", r"neck.output.\1."),
]
_RENAMES: Renames = [
    (r"backbone\.body\.(\d)", r"backbone.trunk.features.\1"),  # MobileNet's features
    (r"backbone\.body\.", "backbone.trunk."),
    (r"backbone\.fpn\.inner_blocks\.", "neck.lateral."),
    (r"backbone\.fpn\.layer_blocks\.", "neck.output."),
    (r"rpn\.head\.conv\.(?:(\d+)\.0\.)?", lambda match: f"rpn.convolutions.{match[1] or 0}."),
    (r"rpn\.head\.cls_logits\.", "rpn.objectness."),
    (r"rpn\.head\.bbox_pred\.", "rpn.deltas."),
    (r"roi_heads\.box_head\.fc", "box_head.trunk.fc"),
    (r"roi_heads\.box_head\.(\d)\.(\d)\.", r"box_head.trunk.convolutions.\1.\2."),
    (r"roi_heads\.box_head\.5\.", "box_head.trunk.fc."),
    (r"roi_heads\.box_predictor\.cls_score\.", "box_head.classes."),
    (r"roi_heads\.box_predictor\.bbox_pred\.", "box_head.deltas."),
    (r"roi_heads\.mask_head\.(\d+)\.", r"branches.mask.convolutions.\1."),
    (r"roi_heads\.mask_head\.mask_fcn(\d+)\.", lambda match: f"branches.mask.convolutions.{int(match[1]) - 1}.0."),
    (r"roi_heads\.mask_predictor\.conv5_mask\.", "branches.mask.deconvolution."),
    (r"roi_heads\.mask_predictor\.mask_fcn_logits\.", "branches.mask.logits."),
    # Every other module of that sequence is a ReLU.
    (r"roi_heads\.keypoint_head\.(\d+)\.", lambda match: f"branches.keypoint.convolutions.{int(match[1]) // 2}."),
    (r"roi_heads\.keypoint_predictor\.kps_score_lowres\.", "branches.keypoint.deconvolution."),
]


def _names(theirs: Collection[str]) -> dict[str, str]:
    normalized = "backbone.fpn.inner_blocks.0.1.weight" in theirs
    renames = _RENAMES if normalized else [*_UNWRAPPED, *_RENAMES]
    return {name: rename_prefix(name, renames) for name in theirs}


def _to_ours(name: str, tensor: Tensor) -> Tensor:
    """The tensors with the background as the last logit, and without its box deltas and masks."""
    if name.startswith("box_head.classes."):
        return torch.cat((tensor[1:], tensor[:1]))
    if name.startswith("box_head.deltas."):
        return tensor[4:]
    if name.startswith("branches.mask.logits."):
        return tensor[1:]
    return tensor


def _to_theirs(name: str, tensor: Tensor) -> Tensor:
    """The inverse of `_to_ours`; the background's box deltas and masks, which torchvision does not read, are zeros."""
    if name.startswith("box_head.classes."):
        return torch.cat((tensor[-1:], tensor[:-1]))
    if name.startswith("box_head.deltas."):
        return torch.cat((torch.zeros_like(tensor[:4]), tensor))
    if name.startswith("branches.mask.logits."):
        return torch.cat((torch.zeros_like(tensor[:1]), tensor))
    return tensor


_LAYOUT = Layout(_names, _to_ours, _to_theirs)
LAYOUTS = dict.fromkeys(BUILDERS, _LAYOUT)
"""By torchvision's name, how its tensors become ours and ours become its."""


def _num_classes(state_dict: Mapping[str, Tensor]) -> int:
    if "box_head.classes.bias" not in state_dict:
        raise InputError("no roi_heads.box_predictor.cls_score.bias in the state dict: it is no torchvision detector")
    return len(state_dict["box_head.classes.bias"]) - 1
