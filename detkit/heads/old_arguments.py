"""Old constructor arguments of heads, which moved to their `Postprocess`; for one release."""

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
"""The argument of `NMS` that replaces each old argument of a head."""

OLD_ATTRIBUTES = {old: (f"postprocess.{new}",) for old, new in OLD_NAMES.items()}
"""Where each old attribute of a head is now."""

# OverFeat's head had an argument for merging or suppression, and thresholds for each.
_MERGING = {"score_threshold": "score_threshold", "candidates": "candidates", "match_threshold": "match_threshold"}
_SUPPRESSING = {"score_threshold": "score_threshold", "nms_threshold": "iou_threshold"}
_OF_OVERFEAT = ("resolve", "match_threshold", *OLD_NAMES)


class TranslatedArguments(NamedTuple):
    """Old arguments of a head, translated.

    Args:
        part: the name of the `Postprocess` class.
        values: its arguments.
        names: the new name of each old argument, "" where it has no effect.
    """

    part: str
    values: dict[str, Any]
    names: dict[str, str]


def translate_arguments(head: type, arguments: Mapping[str, Any]) -> TranslatedArguments:
    """Translate the old ones among `arguments` of the class `head`."""
    if getattr(head, "usual_postprocess", None) is box_merge.MergeBoxes:
        part = "NMS" if arguments.get("resolve") == "nms" else "MergeBoxes"
        known = (_SUPPRESSING if part == "NMS" else _MERGING) | {"detections_per_image": "detections"}
        old = [name for name in _OF_OVERFEAT if name in arguments]
    else:
        part, known = "NMS", OLD_NAMES
        old = [name for name in OLD_NAMES if name in arguments]
    names = {name: known.get(name, "") for name in old}
    return TranslatedArguments(part, {new: arguments[name] for name, new in names.items() if new}, names)


def warn_of(head: type, changed: TranslatedArguments, stacklevel: int) -> None:
    """Warn of each old argument."""
    name = head.__name__
    for old, new in changed.names.items():
        instead = f"{changed.part}({new}=...)" if new else f"{changed.part}()"
        warn(f"{name}({old}=...) is {name}(postprocess={instead}) now", stacklevel + 1)


def move_to_postprocess(head: type, keywords: dict[str, Any], unknown: Sequence[str]) -> dict[str, Any]:
    """`keywords` of a call of `head`, with the old ones moved into its ``postprocess``; warns of each.

    Args:
        head: the class.
        keywords: all keywords of the call.
        unknown: the names of those that the head does not have.
    """
    changed = translate_arguments(head, {name: keywords[name] for name in unknown})
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
    """OverFeat's old attribute ``resolve``, ``merge`` or ``nms``; now the class of its ``postprocess``."""

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
