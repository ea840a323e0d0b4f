"""Arguments that an RPN had before suppression became a part of its own, for one release."""

from __future__ import annotations

import copy
from typing import Any

from detkit.deprecation import old_arguments, warn
from detkit.heads.postprocess import NMS

MOVED = {
    "nms_threshold": ("iou_threshold", ("postprocess", "postprocess_for_training")),
    "score_threshold": ("score_threshold", ("postprocess", "postprocess_for_training")),
    "candidates": ("candidates", ("postprocess",)),
    "proposals": ("detections", ("postprocess",)),
    "candidates_for_training": ("candidates", ("postprocess_for_training",)),
    "proposals_for_training": ("detections", ("postprocess_for_training",)),
}
"""By its old name the argument of `NMS` that an argument of `RPN` is now, and in which of its arguments."""


def moved_to_postprocess(rpn: str, keywords: dict[str, Any]) -> dict[str, Any]:
    """`keywords` of an RPN with those that suppression has now in its arguments for it; warns of each."""
    keywords = dict(keywords)
    for old in sorted(MOVED.keys() & keywords.keys()):
        new, owners = MOVED[old]
        warn(f"{rpn}({old}=...) is {rpn}({', '.join(f'{owner}=NMS({new}=...)' for owner in owners)}) now", stacklevel=5)
        value = keywords.pop(old)
        for owner in owners:
            part = copy.copy(keywords.get(owner) or NMS())
            setattr(part, new, value)
            keywords[owner] = part
    return keywords


takes_old_thresholds = old_arguments(moved_to_postprocess)
"""A decorator of an RPN's ``__init__``: what is an argument of suppression now may still be given to the RPN."""
