"""The categories that published weights were trained for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torchvision

from detkit.structures import UNUSED_LABEL, Category


def torchvision_categories(meta: Mapping[str, Any], has_background: bool = False) -> list[Category]:
    """Those of weights of torchvision, from their ``meta``; label ``c`` of a detector of theirs is ``c - 1``.

    Those of keypoints name them for their one category.

    Args:
        meta: of the weights; the background is the first of its categories.
        has_background: whether it is a class of ours too, as in segmentation.
    """
    names, keypoints = meta["categories"], tuple(meta.get("keypoint_names", ()))
    things = [Category(number, name, keypoints=keypoints) for number, name in enumerate(names) if number > 0]
    return [Category(0, names[0].strip("_"), is_thing=False), *things] if has_background else things


def coco_categories() -> list[Category]:
    """COCO's 80, in the order of its ids, with torchvision's names."""
    weights = torchvision.models.detection.MaskRCNN_ResNet50_FPN_Weights.COCO_V1
    return [one for one in torchvision_categories(weights.meta) if one.name != UNUSED_LABEL]


def voc_categories() -> list[Category]:
    """Pascal VOC's 20 after the background, in the order of its label maps."""
    weights = torchvision.models.segmentation.FCN_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1
    return torchvision_categories(weights.meta, has_background=True)
