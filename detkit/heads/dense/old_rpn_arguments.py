"""Old constructor arguments of the RPN, which moved to its `Postprocess`; for one release."""

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
"""For each old argument of `RPN` the argument of `NMS` that replaces it, and the arguments of `RPN` that hold it."""

OLD_ATTRIBUTES = {old: tuple(f"{owner}.{new}" for owner in owners) for old, (new, owners) in MOVED.items()}
"""Where each old attribute of an RPN is now."""


def move_to_postprocess(head: type, keywords: dict[str, Any], unknown: Sequence[str]) -> dict[str, Any]:
    """`keywords` of a call of `head`, with the old ones moved into its postprocesses; warns of each.

    Args:
        head: the class, `RPN` or derived from it.
        keywords: all keywords of the call.
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
