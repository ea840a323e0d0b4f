"""Arguments that heads had before suppression became a part of its own, for one release."""

from __future__ import annotations

import copy
from typing import Any

from detkit.deprecation import old_arguments, warn
from detkit.heads.postprocess import NMS

MOVED = {
    "score_threshold": "score_threshold",
    "nms_threshold": "iou_threshold",
    "candidates": "candidates",
    "detections": "detections",
    "detections_per_image": "detections",
}
"""By its old name the argument of `NMS` that an argument of a head is now."""


def moved_to_postprocess(head: str, keywords: dict[str, Any]) -> dict[str, Any]:
    """`keywords` of `head` with those that suppression has now in its ``postprocess``; warns of each."""
    old = MOVED.keys() & keywords.keys()
    if not old:
        return keywords
    keywords = dict(keywords)
    part = copy.copy(keywords.get("postprocess") or NMS())
    for name in sorted(old):
        warn(f"{head}({name}=...) is {head}(postprocess=NMS({MOVED[name]}=...)) now", stacklevel=5)
        setattr(part, MOVED[name], keywords.pop(name))
    return keywords | {"postprocess": part}


takes_old_thresholds = old_arguments(moved_to_postprocess)
"""A decorator of a head's ``__init__``: what is an argument of ``postprocess`` now may still be given to the head."""
