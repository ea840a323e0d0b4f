"""Settings of our detectors as arguments of torchvision's, where torchvision has one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import MultiScaleRoIAlign, roi_align

from detkit.errors import InputError
from detkit.models import Detector
from detkit.weights.leaving.result_settings import result_differences

_SIZES = {
    "preprocess.min_size": "min_size",
    "preprocess.max_size": "max_size",
    "preprocess.divisor": "size_divisible",
}
_PIXELS = {"preprocess.mean": "image_mean", "preprocess.std": "image_std"}
_TWO_STAGE = {
    "rpn.postprocess.candidates": "rpn_pre_nms_top_n_test",
    "rpn.postprocess.detections": "rpn_post_nms_top_n_test",
    "rpn.postprocess.iou_threshold": "rpn_nms_thresh",
    "rpn.postprocess.score_threshold": "rpn_score_thresh",
    "box_head.postprocess.score_threshold": "box_score_thresh",
    "box_head.postprocess.iou_threshold": "box_nms_thresh",
    "box_head.postprocess.detections": "box_detections_per_img",
    "box_head.coder.weights": "bbox_reg_weights",
    "branches.keypoint.num_keypoints": "num_keypoints",
}
_SINGLE_STAGE = {
    "head.postprocess.score_threshold": "score_thresh",
    "head.postprocess.iou_threshold": "nms_thresh",
    "head.postprocess.detections": "detections_per_img",
    "head.postprocess.candidates": "topk_candidates",
}


def arguments_of(model: Detector, twin: Detector, name: str) -> dict[str, Any]:
    """The arguments that give torchvision's detector `name` the settings of `model`.

    Args:
        model: the detector to export.
        twin: what `from_torchvision` makes of that detector without arguments.
        name: of torchvision's function.

    Raises:
        InputError: no argument sets one of the settings that change results; the message lists those.
    """
    rules = _rules(model, name)
    arguments: dict[str, Any] = {}
    problems = []
    for setting, one in result_differences(model, twin):
        rule = next((rules[key] for key in rules if setting == key or setting.startswith(f"{key}.")), None)
        if rule is None:
            problems.append(f"{setting} is {one.value}, in torchvision {one.other}")
        else:
            arguments |= rule(model)
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise InputError(
            f"torchvision's {name} has no argument for settings of this {type(model).__name__}: "
            f"{'; '.join(problems[:5])}{more}"
        )
    if getattr(model, "branches", None) is not None and "keypoint" in model.get_submodule("branches")._modules:
        arguments |= rules["branches.keypoint.num_keypoints"](model)
    return arguments


Rule = Callable[[Any], dict[str, Any]]


def _rules(model: Detector, name: str) -> dict[str, Rule]:
    """Of each setting that torchvision's detector `name` has an argument for, what makes the argument of `model`."""
    plain = dict(_PIXELS)
    special: dict[str, Rule] = {}
    if not name.startswith("ssd"):
        plain |= _SIZES
    if hasattr(model, "rpn"):
        plain |= _TWO_STAGE
        special["region_pool"] = _pools
        if not name.endswith("_v2") and "resnet50" in name:  # the other functions set the anchors themselves
            special["rpn.anchor_generator"] = _rpn_anchors
    else:
        plain |= _SINGLE_STAGE
        if name == "retinanet_resnet50_fpn":
            special["head.anchor_generator"] = _anchors
        if name == "fcos_resnet50_fpn":
            special["head.location_offset"] = _locations
    return special | {ours: partial(_plain_argument, ours, theirs) for ours, theirs in plain.items()}


def _plain_argument(ours: str, theirs: str, model: Detector) -> dict[str, Any]:
    value = attrgetter(ours)(model)
    if value is None:
        raise InputError(f"{ours} is None, which torchvision has no argument for: set a number")
    values = value.flatten().tolist() if isinstance(value, Tensor) else value
    return {theirs: tuple(values) if isinstance(values, (list, tuple)) else values}


def _rpn_anchors(model: Any) -> dict[str, Any]:
    return {"rpn_anchor_generator": _generator(model.rpn.anchor_generator)}


def _anchors(model: Any) -> dict[str, Any]:
    return {"anchor_generator": _generator(model.head.anchor_generator)}


def _locations(model: Any) -> dict[str, Any]:
    return {"anchor_generator": AnchorsWithinCells(model.head.strides, model.head.location_offset)}


def _generator(ours: Any) -> AnchorGenerator:
    return _with_cells([getattr(ours, f"base{level}").cpu() for level in range(ours.levels)])


def _with_cells(boxes: list[Tensor]) -> AnchorGenerator:
    """torchvision's generator of the anchors `boxes` around the corner of a cell of each level."""
    generator = AnchorGenerator(
        sizes=tuple((1,) * len(level) for level in boxes), aspect_ratios=tuple((1.0,) for _ in boxes)
    )
    generator.cell_anchors = boxes
    return generator


class AnchorsWithinCells(AnchorGenerator):  # type: ignore[misc]  # torchvision has no types
    """The locations of torchvision's FCOS, which are the centers of anchors, moved from the corners of the cells.

    Args:
        strides: of the levels; an anchor is as large as a cell.
        offset: position of a location in its cell, as a fraction of the cell.
    """

    def __init__(self, strides: Sequence[int], offset: float) -> None:
        super().__init__(tuple((stride,) for stride in strides), ((1.0,),) * len(strides))
        self.offset = offset

    def grid_anchors(self, grid_sizes: list[list[int]], strides: list[list[Tensor]]) -> list[Tensor]:
        """The anchors of each level; a cell is as large as the image has room for it."""
        levels = super().grid_anchors(grid_sizes, strides)
        return [
            anchors + self.offset * torch.stack((x, y, x, y)) for anchors, (y, x) in zip(levels, strides, strict=True)
        ]


def _pools(model: Any) -> dict[str, Any]:
    """The crops of all branches."""
    branches = model.branches
    make = partial(RoIAlignOfPyramid, model.region_pool)
    pools = {f"{name}_roi_pool": make(branches[name].resolution) for name in ("mask", "keypoint") if name in branches}
    return {"box_roi_pool": make(model.region_pool.resolution), **pools}


class RoIAlignOfPyramid(MultiScaleRoIAlign):  # type: ignore[misc]  # torchvision has no types
    """torchvision's crops of regions, also ``aligned``: shifted by half a pixel, which its own class does not offer.

    Args:
        pool: the `RegionAlign` whose crops these are.
        resolution: height and width of a crop in cells.
    """

    def __init__(self, pool: Any, resolution: int) -> None:
        levels = ["0", "1", "2", "3"]
        super().__init__(levels, resolution, pool.sampling_ratio, canonical_scale=pool.canonical_size)
        self.aligned = pool.aligned

    def forward(self, x: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]) -> Tensor:
        """The crops of all boxes, each from the level of its size."""
        if not self.aligned:
            crops: Tensor = super().forward(x, boxes, image_shapes)
            return crops
        maps = [x[name] for name in self.featmap_names if name in x]
        # Its own method sets up scales and levels.
        super().forward(x, [box[:0] for box in boxes], image_shapes)
        levels = self.map_levels(boxes) if len(maps) > 1 else torch.zeros(sum(map(len, boxes)), device=maps[0].device)
        images = torch.cat([box.new_full((len(box), 1), index) for index, box in enumerate(boxes)])
        regions = torch.cat((images, torch.cat(boxes)), dim=1)
        crops = maps[0].new_zeros(len(regions), maps[0].shape[1], *self.output_size)
        for level, (features, scale) in enumerate(zip(maps, self.scales, strict=True)):
            (rows,) = torch.where(levels == level)
            crops[rows] = roi_align(features, regions[rows], self.output_size, scale, self.sampling_ratio, aligned=True)
        return crops
