"""Arguments that heads had before suppression became a part of its own, for one release."""

from __future__ import annotations

import copy
from typing import Any

from detkit.deprecation import old_arguments, warn
from detkit.heads.box_merge import MergeBoxes
from detkit.heads.postprocess import NMS, Postprocess

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
    return _moved(head, keywords, NMS(), MOVED)


def moved_to_merging(head: str, keywords: dict[str, Any]) -> dict[str, Any]:
    """As `moved_to_postprocess` for a head that merges boxes unless ``resolve="nms"`` was said."""
    if "resolve" not in keywords and "match_threshold" not in keywords:
        part = NMS() if isinstance(keywords.get("postprocess"), NMS) else MergeBoxes()
        return _moved(head, keywords, part, MOVED)
    keywords = dict(keywords)
    part = NMS() if keywords.pop("resolve", "merge") == "nms" else MergeBoxes()
    warn(f"{head}(resolve=...) is {head}(postprocess={type(part).__name__}(...)) now", stacklevel=4)
    return _moved(head, {"postprocess": part} | keywords, part, MOVED | {"match_threshold": "match_threshold"})


def _moved(head: str, keywords: dict[str, Any], default: Postprocess, names: dict[str, str]) -> dict[str, Any]:
    old = names.keys() & keywords.keys()
    if not old:
        return keywords
    keywords = dict(keywords)
    part = copy.copy(keywords.get("postprocess") or default)
    for name in sorted(old):
        value, new = keywords.pop(name), names[name]
        warn(f"{head}({name}=...) is {head}(postprocess={type(part).__name__}({new}=...)) now", stacklevel=5)
        setattr(part, new, value)
    return keywords | {"postprocess": part}


takes_old_thresholds = old_arguments(moved_to_postprocess)
"""A decorator of a head's ``__init__``: what is an argument of ``postprocess`` now may still be given to the head."""
