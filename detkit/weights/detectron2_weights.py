"""detectron2's Faster R-CNN, Mask R-CNN and Panoptic FPN, weight for weight: `from_detectron2`, `to_detectron2`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, cast, overload

import torch
from torch import Tensor

from detkit.backbones import TorchvisionBackbone
from detkit.errors import InputError
from detkit.heads import NMS, RPN, AveragePool, BoxHead, MaskHead
from detkit.models import Detector, FasterRCNN, MaskRCNN, PanopticFPN, RegionAlign, RegionStage
from detkit.necks import FPN
from detkit.preprocess import SmoothShortestEdge
from detkit.structures import WeightsSource
from detkit.weights.detectron2_panoptic import NAMES as PANOPTIC_NAMES
from detkit.weights.detectron2_panoptic import PanopticName, panoptic_categories, with_all_classes
from detkit.weights.leaving.result_settings import result_differences
from detkit.weights.published_categories import coco_categories
from detkit.weights.state_dict import Renames, check_has, checked_tensors, load_all

NAMES = [
    f"{kind}_rcnn_R_{net}"
    for kind in ("faster", "mask")
    for net in ("50_C4_1x", "50_C4_3x", "50_FPN_1x", "50_FPN_3x", "101_C4_3x", "101_FPN_3x")
]
"""The detectors of the model zoo that can be imported."""
MaskName = Literal[
    "mask_rcnn_R_50_C4_1x", "mask_rcnn_R_50_C4_3x", "mask_rcnn_R_50_FPN_1x", "mask_rcnn_R_50_FPN_3x",
    "mask_rcnn_R_101_C4_3x", "mask_rcnn_R_101_FPN_3x",
]  # fmt: skip
"""Those of `NAMES` that have masks, for type checkers."""

# For blue, green and red, the order of channels in detectron2's models.
_PIXEL_MEAN, _PIXEL_STD = (103.53, 116.28, 123.675), (1.0, 1.0, 1.0)
_LICENSE = "CC BY-SA 3.0 if it is the model zoo's, as detectron2 states; unknown for a file of another origin"
_ANCHOR_SIZES = [32, 64, 128, 256, 512]
# Buffers in some files.
_ANCHORS = "proposal_generator.anchor_generator.cell_anchors."


@overload
def from_detectron2(name: MaskName, state_dict: Mapping[str, Any]) -> MaskRCNN: ...
@overload
def from_detectron2(name: PanopticName, state_dict: Mapping[str, Any]) -> PanopticFPN: ...
@overload
def from_detectron2(name: str, state_dict: Mapping[str, Any]) -> FasterRCNN: ...
def from_detectron2(name: str, state_dict: Mapping[str, Any]) -> FasterRCNN:
    """A detkit model with the same detections as detectron2's model of the zoo with the same weights.

    It takes RGB images in [0, 1], as all of detkit's models do: the channels of the first convolution, the mean and the
    standard deviation are reversed. Resizing, anchors, crops and thresholds are detectron2's.

    Args:
        name: one of `NAMES`, such as ``mask_rcnn_R_50_FPN_3x``, or ``panoptic_fpn_R_50_3x`` and its siblings; its
            folder and ``.yaml`` may be included.
        state_dict: the unpickled content of the zoo's file: arrays or tensors with detectron2's names, or a dictionary
            with these under ``model``.

    Raises:
        InputError: unknown name, or tensors that are missing, unknown or of another shape.
    """
    name = name.rpartition("/")[2].removesuffix(".yaml")
    if name not in (*NAMES, *PANOPTIC_NAMES):
        raise InputError(f"cannot import detectron2's {name!r}, only {', '.join((*NAMES, *PANOPTIC_NAMES))}")
    if isinstance(state_dict, Mapping) and isinstance(state_dict.get("model"), Mapping):
        state_dict = state_dict["model"]
    tensors = checked_tensors(state_dict, f"detectron2's {name}")
    mean, std = tensors.pop("pixel_mean", torch.tensor(_PIXEL_MEAN)), tensors.pop("pixel_std", torch.tensor(_PIXEL_STD))
    anchors = {key: tensors.pop(key) for key in sorted(tensors) if key.startswith(_ANCHORS)}
    num_classes = _num_classes(tensors)
    categories = coco_categories() if num_classes == 80 else None
    if name in PANOPTIC_NAMES:
        categories = panoptic_categories(tensors)
        num_classes, tensors = len(categories), with_all_classes(tensors)
    model = _model(name, num_classes, _rgb_fractions(mean), _rgb_fractions(std))
    load_all(model, tensors, f"detectron2's {name}", partial(_name_in_detectron2, has_pyramid="FPN" in name.upper()))
    rpn = cast(RPN, model.rpn)  # which these models have
    _reverse_channels_(model)
    _reorder_anchors_(rpn)
    _check_anchors(rpn, list(anchors.values()))
    model.categories = categories
    model.provenance = [WeightsSource(f"detectron2 {name}", "a state dict", _LICENSE)]
    return model


@dataclass(frozen=True, eq=False)
class Detectron2Detector:
    """A detector as detectron2 has it.

    Args:
        name: of its config in the model zoo, such as ``mask_rcnn_R_50_FPN_3x``.
        settings: by detectron2's config keys, those in which the detector differs from that config.
        state_dict: the weights, copied, with detectron2's names.
    """

    name: str
    settings: dict[str, Any]
    state_dict: dict[str, Tensor]


def to_detectron2(model: Detector) -> Detectron2Detector:
    """The detector of detectron2 with the same detections, the inverse of `from_detectron2`.

    Its ``settings`` go into ``cfg.merge_from_list``, key and value in turn, and ``{"model": state_dict}`` into a file
    for detectron2's ``DetectionCheckpointer``. Settings that matter only in training are the zoo's.

    Args:
        model: a detector with the layers and anchors of one in the zoo, imported or trained with detkit.

    Raises:
        InputError: the zoo has no such detector; the message names a difference.
    """
    trunk = getattr(getattr(model, "backbone", None), "trunk", None)
    layers = {6: "50", 23: "101"}.get(len(getattr(trunk, "layer3", ())))
    if type(model) not in (FasterRCNN, MaskRCNN) or layers is None:
        raise InputError(f"detectron2's model zoo has no {type(model).__name__} on this backbone: it has {NAMES}")
    has_pyramid = isinstance(getattr(model, "neck", None), FPN)
    kind = "mask" if isinstance(model, MaskRCNN) else "faster"
    name = f"{kind}_rcnn_R_{layers}_{'FPN' if has_pyramid else 'C4'}_3x"
    with torch.random.fork_rng(devices=[]):
        twin = _model(
            name, model.num_classes, *(_rgb_fractions(torch.tensor(one)) for one in (_PIXEL_MEAN, _PIXEL_STD))
        )
    own, zoo = dict(model.state_dict()), twin.state_dict()
    own = {key: tensor for key, tensor in own.items() if not key.endswith("num_batches_tracked")}
    if {key: tensor.shape for key, tensor in own.items()} != {key: tensor.shape for key, tensor in zoo.items()}:
        raise InputError(f"the {type(model).__name__} does not have the layers of detectron2's {name}")
    settings: dict[str, Any] = {} if model.num_classes == 80 else {"MODEL.ROI_HEADS.NUM_CLASSES": model.num_classes}
    for setting, one in result_differences(model, twin):
        if setting not in _CONFIG_KEYS:
            raise InputError(f"{setting} is {one.value}, in detectron2's {name} it is {one.other}")
        settings[_CONFIG_KEYS[setting]] = one.value
    pixels = {f"pixel_{key}": _bgr_levels(getattr(model.preprocess, key)) for key in ("mean", "std")}
    for key in ("mean", "std"):
        if f"MODEL.PIXEL_{key.upper()}" in settings:
            settings[f"MODEL.PIXEL_{key.upper()}"] = pixels[f"pixel_{key}"].flatten().tolist()
    rpn = cast(RPN, model.rpn)
    tensors = {
        _name_in_detectron2(key, has_pyramid): _in_their_order(key, tensor.detach(), rpn).cpu().clone()
        for key, tensor in own.items()
    }
    return Detectron2Detector(name, settings, tensors | pixels)


_CONFIG_KEYS = {
    "preprocess.min_size": "INPUT.MIN_SIZE_TEST",
    "preprocess.max_size": "INPUT.MAX_SIZE_TEST",
    "preprocess.mean": "MODEL.PIXEL_MEAN",
    "preprocess.std": "MODEL.PIXEL_STD",
    "rpn.postprocess.candidates": "MODEL.RPN.PRE_NMS_TOPK_TEST",
    "rpn.postprocess.detections": "MODEL.RPN.POST_NMS_TOPK_TEST",
    "rpn.postprocess.iou_threshold": "MODEL.RPN.NMS_THRESH",
    "box_head.postprocess.score_threshold": "MODEL.ROI_HEADS.SCORE_THRESH_TEST",
    "box_head.postprocess.iou_threshold": "MODEL.ROI_HEADS.NMS_THRESH_TEST",
    "box_head.postprocess.detections": "TEST.DETECTIONS_PER_IMAGE",
}


def _model(name: str, num_classes: int, mean: list[float], std: list[float]) -> FasterRCNN:
    net = "resnet" + name.split("_")[3]
    has_pyramid = "FPN" in name.upper()
    parts = _fpn_parts(net) if has_pyramid else _c4_parts(net)
    parts |= {
        "num_classes": num_classes,
        "preprocess": SmoothShortestEdge(mean=mean, std=std, divisor=32 if has_pyramid else 1),
    }
    if name.startswith("faster"):
        return FasterRCNN(**parts)
    if name in PANOPTIC_NAMES:
        return PanopticFPN(**parts)
    return MaskRCNN(mask_head=MaskHead if has_pyramid else partial(MaskHead, convolutions=0, resolution=7), **parts)


def _fpn_parts(net: str) -> dict[str, Any]:
    in_training, sizes = NMS(detections=1000), [[size] for size in _ANCHOR_SIZES]
    rpn = partial(RPN, anchor_sizes=sizes, exact_anchors=True, postprocess_for_training=in_training)
    return {"backbone": _backbone(net), "rpn": rpn, "region_pool": RegionAlign(sampling_ratio=0)}


def _c4_parts(net: str) -> dict[str, Any]:
    candidates: dict[str, Any] = {
        "postprocess": NMS(candidates=6000),
        "postprocess_for_training": NMS(candidates=12000),
    }
    return {
        "backbone": _backbone(net, stages=[4]),
        "neck": None,
        "rpn": partial(RPN, anchor_sizes=[_ANCHOR_SIZES], exact_anchors=True, **candidates),
        "region_pool": RegionStage(RegionAlign(14, sampling_ratio=0), net, stride_in_1x1=True),
        "box_head": partial(BoxHead, trunk=AveragePool),
    }


_backbone = partial(TorchvisionBackbone, frozen_stages=2, frozen_batch_norm=True, stride_in_1x1=True)


def _num_classes(tensors: Mapping[str, Tensor]) -> int:
    name = "roi_heads.box_predictor.cls_score.bias"
    check_has(tensors, (name,), "not a two-stage detector of detectron2")
    return len(tensors[name]) - 1


def _rgb_fractions(values: Tensor) -> list[float]:
    """Blue, green and red in 0..255 as red, green and blue in 0..1."""
    if values.numel() != 3 or not bool(values.isfinite().all()):
        raise InputError(f"pixel_mean and pixel_std must hold three finite numbers, got {values.flatten().tolist()}")
    return (values.double().flatten().flip(0) / 255).tolist()


# From detkit's names. In detectron2's ResNets each batch norm is a child of its convolution.
_RENAMES: Renames = [
    (r"\.bn(\d)\.", r".conv\1.norm."),
    (r"\.downsample\.0\.", ".shortcut."),
    (r"\.downsample\.1\.", ".shortcut.norm."),
    (r"^backbone\.trunk\.conv1\.", "backbone.stem.conv1."),
    (r"^backbone\.trunk\.layer(\d)\.", lambda match: f"backbone.res{int(match[1]) + 1}."),
    (r"^region_pool\.stage\.", "roi_heads.res5."),
    (r"^neck\.lateral\.(\d)\.", lambda match: f"backbone.fpn_lateral{int(match[1]) + 2}."),
    (r"^neck\.output\.(\d)\.", lambda match: f"backbone.fpn_output{int(match[1]) + 2}."),
    (r"^rpn\.convolutions\.0\.", "proposal_generator.rpn_head.conv."),
    (r"^rpn\.objectness\.", "proposal_generator.rpn_head.objectness_logits."),
    (r"^rpn\.deltas\.", "proposal_generator.rpn_head.anchor_deltas."),
    (r"^box_head\.trunk\.fc(\d)\.", lambda match: f"roi_heads.box_head.fc{int(match[1]) - 5}."),
    (r"^box_head\.classes\.", "roi_heads.box_predictor.cls_score."),
    (r"^box_head\.deltas\.", "roi_heads.box_predictor.bbox_pred."),
    (r"^branches\.mask\.convolutions\.(\d)\.0\.", lambda match: f"roi_heads.mask_head.mask_fcn{int(match[1]) + 1}."),
    (r"^branches\.mask\.deconvolution\.", "roi_heads.mask_head.deconv."),
    (r"^branches\.mask\.logits\.", "roi_heads.mask_head.predictor."),
    (
        r"^semantic_head\.levels\.(\d)\.(\d)\.(conv|norm)\.",
        lambda match: f"sem_seg_head.p{int(match[1]) + 2}.{2 * int(match[2])}.{'norm.' * (match[3] == 'norm')}",
    ),
    (r"^semantic_head\.classes\.", "sem_seg_head.predictor."),
]


def _bgr_levels(values: Tensor) -> Tensor:
    """Red, green and blue in 0..1 as blue, green and red in 0..255, with as few decimals as give the same in 0..1."""
    fractions = values.detach().cpu().flatten().flip(0)
    levels = fractions.double() * 255
    rounded = (levels.round(decimals=digits) for digits in range(8))
    shortest = next((one for one in rounded if torch.equal((one / 255).float(), fractions)), levels)
    return shortest.float().view(3, 1, 1)


def _in_their_order(name: str, tensor: Tensor, rpn: RPN) -> Tensor:
    """The tensor called `name` here with the order of channels and anchors that it has in detectron2."""
    if name == "backbone.trunk.conv1.weight":
        return tensor.flip(1)
    if name.startswith(("rpn.objectness.", "rpn.deltas.")):
        per_anchor = torch.unflatten(tensor, 0, (rpn.anchor_generator.per_location[0], -1))
        return per_anchor[_order(rpn).argsort()].flatten(0, 1)
    return tensor


def _name_in_detectron2(name: str, has_pyramid: bool) -> str:
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    return re.sub(r"^backbone\.(stem|res)", r"backbone.bottom_up.\1", name) if has_pyramid else name


@torch.no_grad()
def _reverse_channels_(model: FasterRCNN) -> None:
    """Reorder the input channels of the first convolution from blue, green and red to red, green and blue."""
    weight = model.backbone.get_parameter("trunk.conv1.weight")
    weight.copy_(weight.flip(1))


def _order(rpn: RPN) -> Tensor:
    """The index in detectron2 of each of our anchors of a cell: there sizes vary fastest, here ratios."""
    count = rpn.anchor_generator.per_location[0]
    return torch.arange(count).view(-1, 3).T.flatten()


@torch.no_grad()
def _reorder_anchors_(rpn: RPN) -> None:
    order = _order(rpn)
    for layer, values in ((rpn.objectness, 1), (rpn.deltas, 4)):
        for parameter in layer.parameters():
            per_anchor = torch.unflatten(parameter, 0, (len(order), values))
            parameter.copy_(per_anchor[order].flatten(0, 1))


def _check_anchors(rpn: RPN, anchors: list[Tensor]) -> None:
    """Raise InputError for weights that were trained with other anchors than the zoo's, if the file has them."""
    own = [getattr(rpn.anchor_generator, f"base{level}") for level in range(rpn.anchor_generator.levels)]
    order = _order(rpn)
    for level, (ours, theirs) in enumerate(zip(own, anchors, strict=False)):
        if theirs.shape != ours.shape or not torch.allclose(theirs[order].float(), ours, atol=1e-2):
            raise InputError(
                f"{_ANCHORS}{level} are not the anchors of detectron2's model zoo, of {_ANCHOR_SIZES} pixels"
            )
