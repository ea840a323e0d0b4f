"""detectron2's Panoptic FPN: outputs of things and of stuff in the order of its labels, brought to that of the data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import torch
from torch import Tensor

from detkit.structures import Category
from detkit.weights.published_categories import coco_categories
from detkit.weights.state_dict import check_has

PanopticName = Literal["panoptic_fpn_R_50_1x", "panoptic_fpn_R_50_3x", "panoptic_fpn_R_101_3x"]
NAMES: tuple[PanopticName, ...] = get_args(PanopticName)
"""The panoptic models of the model zoo that can be imported."""

_BOX, _SEMANTIC, _MASK = "roi_heads.box_predictor", "sem_seg_head.predictor", "roi_heads.mask_head.predictor"
_NEVER = -100.0  # a logit whose probability is 0 in float32

_STUFF = {
    92: "banner", 93: "blanket", 95: "bridge", 100: "cardboard", 107: "counter", 109: "curtain", 112: "door-stuff",
    118: "floor-wood", 119: "flower", 122: "fruit", 125: "gravel", 128: "house", 130: "light", 133: "mirror-stuff",
    138: "net", 141: "pillow", 144: "platform", 145: "playingfield", 147: "railroad", 148: "river", 149: "road",
    151: "roof", 154: "sand", 155: "sea", 156: "shelf", 159: "snow", 161: "stairs", 166: "tent", 168: "towel",
    171: "wall-brick", 175: "wall-stone", 176: "wall-tile", 177: "wall-wood", 178: "water-other", 180: "window-blind",
    181: "window-other", 184: "tree-merged", 185: "fence-merged", 186: "ceiling-merged", 187: "sky-other-merged",
    188: "cabinet-merged", 189: "table-merged", 190: "floor-other-merged", 191: "pavement-merged",
    192: "mountain-merged", 193: "grass-merged", 194: "dirt-merged", 195: "paper-merged", 196: "food-other-merged",
    197: "building-other-merged", 198: "rock-merged", 199: "wall-other-merged", 200: "rug-merged",
}  # fmt: skip
"""COCO's 53 classes of stuff by their ids in its panoptic files."""


def panoptic_categories(tensors: Mapping[str, Tensor]) -> list[Category]:
    """Things, then stuff: COCO's where they are as many, else numbered.

    Raises:
        InputError: the state dict has no semantic head.
    """
    name = f"{_SEMANTIC}.bias"
    check_has(tensors, (name,), "not a panoptic model of detectron2")
    things, stuff = len(tensors[f"{_BOX}.cls_score.bias"]) - 1, len(tensors[name]) - 1
    if (things, stuff) == (80, len(_STUFF)):
        return [*coco_categories(), *(Category(number, one, is_thing=False) for number, one in _STUFF.items())]
    named = [Category(number + 1, f"thing {number + 1}") for number in range(things)]
    return [*named, *(Category(things + one + 1, f"stuff {one + 1}", is_thing=False) for one in range(stuff))]


def with_all_classes(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors for a model whose labels are things, then stuff: what detectron2's heads lack never occurs.

    Its box and mask heads have outputs of things alone. Output 0 of its semantic head is for all things, the others are
    for stuff.
    """
    things, stuff = len(tensors[f"{_BOX}.cls_score.bias"]) - 1, len(tensors[f"{_SEMANTIC}.bias"]) - 1
    widened = dict(tensors)
    for part, value in (("weight", 0.0), ("bias", _NEVER)):
        classes = tensors[f"{_BOX}.cls_score.{part}"]
        widened[f"{_BOX}.cls_score.{part}"] = torch.cat((classes[:-1], _rows(classes, stuff, value), classes[-1:]))
        for name, each in ((f"{_BOX}.bbox_pred.{part}", 4), (f"{_MASK}.{part}", 1)):
            widened[name] = torch.cat((tensors[name], _rows(tensors[name], each * stuff, 0.0)))
        outputs = tensors[f"{_SEMANTIC}.{part}"]
        widened[f"{_SEMANTIC}.{part}"] = torch.cat((_rows(outputs, things, 0.0), outputs[1:], outputs[:1]))
    return widened


def _rows(like: Tensor, count: int, value: float) -> Tensor:
    return like.new_full((count, *like.shape[1:]), value)
