"""The categories that published weights were trained for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torchvision

from detkit.structures import UNUSED_LABEL, Category


def torchvision_categories(meta: Mapping[str, Any]) -> list[Category]:
    """Those of weights of a detector of torchvision, from their ``meta``; label ``c`` of theirs is ``c - 1``.

    Those of keypoints name them for their one category.
    """
    names, keypoints = meta["categories"], tuple(meta.get("keypoint_names", ()))
    return [Category(number, name, keypoints=keypoints) for number, name in enumerate(names) if number > 0]


def coco_categories() -> list[Category]:
    """COCO's 80, in the order of its ids, with torchvision's names."""
    weights = torchvision.models.detection.MaskRCNN_ResNet50_FPN_Weights.COCO_V1
    return [one for one in torchvision_categories(weights.meta) if one.name != UNUSED_LABEL]
