"""The classes of a data set, with what is known of their keypoints."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

logger = logging.getLogger(__name__)

Pair = tuple[int, int]

PERSON_KEYPOINTS = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
"""COCO's keypoints of a person."""

PERSON_SIGMAS = tuple(
    tenth / 10
    for tenth in (0.26, 0.25, 0.25, 0.35, 0.35, 0.79, 0.79, 0.72, 0.72, 0.62, 0.62, 1.07, 1.07, 0.87, 0.87, 0.89, 0.89)
)
"""Their spread, of which COCO's keypoint similarity is made."""

UNUSED_LABEL = "N/A"
"""The name of labels that no class has, as torchvision's COCO models count them: evaluation leaves them out."""


@dataclass(frozen=True)
class Category:
    """A class as its data set names it; the position in a list of categories is the label.

    Args:
        id: in the data set.
        name: in words.
        is_thing: whether it has objects that can be counted; grass and sky have not.
        color: ``(red, green, blue)`` in 0..255, to draw it in; None: none of its own.
        keypoints: the names of its J keypoints.
        swap_pairs: the keypoints, by position from 0, that a mirror exchanges; None: those whose names differ in "left"
            and "right" alone.
        skeleton: the keypoints, by position from 0, between which a line is drawn.
        sigmas: the spread of each keypoint in COCO's keypoint similarity; None: unknown, but of COCO's person, by the
            names of its keypoints.

    Raises:
        ValueError: a pair names a keypoint that there is not, or `sigmas` are not as many as the keypoints.
    """

    id: int
    name: str
    is_thing: bool = True
    color: tuple[int, int, int] | None = None
    keypoints: tuple[str, ...] = ()
    swap_pairs: tuple[Pair, ...] | None = None
    skeleton: tuple[Pair, ...] = ()
    sigmas: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        for name, value in {
            "color": self.color,
            "keypoints": self.keypoints,
            "swap_pairs": left_right_pairs(self.keypoints) if self.swap_pairs is None else self.swap_pairs,
            "skeleton": self.skeleton,
            "sigmas": PERSON_SIGMAS if self._is_person and self.sigmas is None else self.sigmas,
        }.items():
            object.__setattr__(self, name, None if value is None else tuple(map(_hashable, value)))
        count = len(self.keypoints)
        for name, pairs in {"swap_pairs": self.swap_pairs or (), "skeleton": self.skeleton}.items():
            if any(len(pair) != 2 or not all(0 <= end < count for end in pair) for pair in pairs):
                raise ValueError(
                    f"category {self.name!r}: its {name} {list(pairs)} are not all pairs of 0..{count - 1}"
                )
        if self.sigmas is not None and len(self.sigmas) != count:
            raise ValueError(f"category {self.name!r} has {count} keypoints but {len(self.sigmas)} sigmas")

    @property
    def _is_person(self) -> bool:
        return tuple(self.keypoints) == PERSON_KEYPOINTS

    def record(self) -> dict[str, Any]:
        """What a file says of it: plain values, without those that are as they are unless said otherwise."""
        plain = {one.name: one.default for one in fields(self)} | {"swap_pairs": left_right_pairs(self.keypoints)}
        plain["sigmas"] = PERSON_SIGMAS if self._is_person else None
        return {name: _listed(value) for name, value in asdict(self).items() if value != plain[name]}


def left_right_pairs(names: Sequence[str]) -> tuple[Pair, ...]:
    """The positions of names that differ in "left" and "right" alone."""
    names = list(names)
    mirrored = [name.replace("left", "right") for name in names]
    return tuple(
        (left, names.index(other))
        for left, (name, other) in enumerate(zip(names, mirrored, strict=True))
        if other != name and other in names
    )


def keypoint_category(categories: Sequence[Category]) -> Category | None:
    """The first category that has keypoints: all keypoints of a data set are those of this one."""
    return next((category for category in categories if category.keypoints), None)


def from_coco(entry: Mapping[str, Any], source: str) -> Category:
    """The category of an entry of a COCO file, whose skeleton counts keypoints from 1.

    ``isthing`` and ``color`` are those of COCO's panoptic files; ``swap_pairs`` (from 1 as well) and ``sigmas`` are
    detkit's own. Of what is not as it should be a warning names `source`, and it is left out.
    """
    keypoints = tuple(map(str, entry.get("keypoints") or ()))
    category = Category(entry["id"], entry["name"], bool(entry.get("isthing", True)), keypoints=keypoints)
    further = {
        "color": lambda: _color(entry["color"]),
        "swap_pairs": lambda: _from_one(entry["swap_pairs"]),
        "skeleton": lambda: _from_one(entry["skeleton"]),
        "sigmas": lambda: tuple(map(float, entry["sigmas"])),
    }
    for name, read in further.items():
        if entry.get(name):
            try:
                category = replace(category, **{name: read()})
            except (TypeError, ValueError) as error:
                logger.warning(
                    "%s: the %s of category %r is not used (%s)", source, name, entry["name"], error or type(error)
                )
    return category


def entries_in(content: bytes) -> list[dict[str, Any]] | None:
    """The categories of a COCO file, found without parsing what may be hundreds of megabytes beside them; None where
    that is not possible."""
    found = list(re.finditer(rb'"categories"\s*:\s*(?=\[)', content))
    if len(found) != 1:
        return None
    rest = content[found[0].end() :]
    for size in (2**16, 2**20, 2**24, len(rest)):
        try:
            entries, _ = json.JSONDecoder().raw_decode(rest[:size].decode(errors="ignore"))
            break
        except ValueError:
            entries = []
    known = [one for one in entries if isinstance(one, dict) and type(one.get("id")) is int and "name" in one]
    are_whole = len(known) == len(entries) > 0 and all(isinstance(one["name"], str) for one in known)
    return sorted(known, key=lambda entry: entry["id"]) if are_whole else None


def _color(values: Sequence[int]) -> tuple[int, ...]:
    if len(values) != 3 or not all(0 <= int(value) <= 255 for value in values):
        raise ValueError(f"{values!r} is no red, green and blue in 0..255")
    return tuple(map(int, values))


def _from_one(pairs: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(end) - 1 for end in pair) for pair in pairs)


def to_coco(category: Category) -> dict[str, Any]:
    """The entry of a COCO file for a category."""
    record = category.record()
    if "is_thing" in record:
        record["isthing"] = int(record.pop("is_thing"))
    for name in ("swap_pairs", "skeleton"):
        if name in record:
            record[name] = [[end + 1 for end in pair] for pair in record[name]]
    return record


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, (list, tuple)) else value


def _listed(value: Any) -> Any:
    return [_listed(one) for one in value] if isinstance(value, (list, tuple)) else value
