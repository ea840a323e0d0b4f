"""Arguments that an RPN had before suppression became a part of its own, for one release."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from detkit.deprecation import warn
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


OLD_ATTRIBUTES = {old: tuple(f"{owner}.{new}" for owner in owners) for old, (new, owners) in MOVED.items()}
"""By its old name where an attribute of an RPN stands now."""


def moved_to_postprocess(head: type, keywords: dict[str, Any], unknown: Sequence[str]) -> dict[str, Any]:
    """`keywords` of an RPN with those that suppression has now in its arguments for it; warns of each.

    Args:
        head: the class.
        keywords: all of them.
        unknown: the names of those that the RPN does not have.
    """
    rpn = head.__name__
    keywords = dict(keywords)
    for old in sorted(MOVED.keys() & set(unknown)):
        new, owners = MOVED[old]
        warn(f"{rpn}({old}=...) is {rpn}({', '.join(f'{owner}=NMS({new}=...)' for owner in owners)}) now", stacklevel=5)
        value = keywords.pop(old)
        for owner in owners:
            part = copy.copy(keywords.get(owner) or NMS())
            setattr(part, new, value)
            keywords[owner] = part
    return keywords
