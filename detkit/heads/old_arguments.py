"""Arguments that heads had before suppression became a part of its own, for one release."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from detkit.deprecation import warn
from detkit.heads import box_merge, postprocess

OLD_NAMES = {
    "score_threshold": "score_threshold",
    "nms_threshold": "iou_threshold",
    "candidates": "candidates",
    "detections": "detections",
    "detections_per_image": "detections",
}
"""By its old name the argument of `NMS` that an argument of a head is now."""

OLD_ATTRIBUTES = {old: (f"postprocess.{new}",) for old, new in OLD_NAMES.items()}
"""By its old name where an attribute of a head stands now."""

# OverFeat's head said by an argument whether it merges, and each way had numbers of its own.
_MERGING = {"score_threshold": "score_threshold", "candidates": "candidates", "match_threshold": "match_threshold"}
_SUPPRESSING = {"score_threshold": "score_threshold", "nms_threshold": "iou_threshold"}
_OF_OVERFEAT = ("resolve", "match_threshold", *OLD_NAMES)


class Moved(NamedTuple):
    """What old arguments of a head say in new words.

    Args:
        part: the name of the class that suppresses.
        values: its arguments.
        names: by the old name of each argument the new one, "" where it has no effect.
    """

    part: str
    values: dict[str, Any]
    names: dict[str, str]


def moved(head: type, arguments: Mapping[str, Any]) -> Moved:
    """The old ones among `arguments` of the class `head`."""
    if getattr(head, "usual_postprocess", None) is box_merge.MergeBoxes:
        part = "NMS" if arguments.get("resolve") == "nms" else "MergeBoxes"
        known = (_SUPPRESSING if part == "NMS" else _MERGING) | {"detections_per_image": "detections"}
        old = [name for name in _OF_OVERFEAT if name in arguments]
    else:
        part, known = "NMS", OLD_NAMES
        old = [name for name in OLD_NAMES if name in arguments]
    names = {name: known.get(name, "") for name in old}
    return Moved(part, {new: arguments[name] for name, new in names.items() if new}, names)


def warn_of(head: type, changed: Moved, stacklevel: int) -> None:
    """One warning for each old argument."""
    name = head.__name__
    for old, new in changed.names.items():
        instead = f"{changed.part}({new}=...)" if new else f"{changed.part}()"
        warn(f"{name}({old}=...) is {name}(postprocess={instead}) now", stacklevel + 1)


def moved_to_postprocess(head: type, keywords: dict[str, Any], unknown: Sequence[str]) -> dict[str, Any]:
    """`keywords` of a call of `head` with those that suppression has now in its ``postprocess``; warns of each.

    Args:
        head: the class.
        keywords: all of them.
        unknown: the names of those that the head does not have.
    """
    changed = moved(head, {name: keywords[name] for name in unknown})
    if not changed.names:
        return keywords
    warn_of(head, changed, stacklevel=4)
    rest = {name: value for name, value in keywords.items() if name not in changed.names}
    default = box_merge.MergeBoxes() if changed.part == "MergeBoxes" else postprocess.NMS()
    part = copy.copy(rest.get("postprocess") or default)
    for name, value in changed.values.items():
        setattr(part, name, value)
    return rest | {"postprocess": part}


class MovedResolve:
    """OverFeat's ``resolve``, which said by a word what its ``postprocess`` says by its class."""

    def __get__(self, head: Any, owner: type) -> Any:
        if head is None:
            return self
        self._warn(head)
        return "merge" if isinstance(head.postprocess, box_merge.MergeBoxes) else "nms"

    def __set__(self, head: Any, value: str) -> None:
        self._warn(head)
        head.postprocess = postprocess.NMS() if value == "nms" else box_merge.MergeBoxes()

    def _warn(self, head: Any) -> None:
        kind = type(head).__name__
        warn(f"{kind}.resolve is {kind}.postprocess now: NMS() or MergeBoxes()", stacklevel=4)
