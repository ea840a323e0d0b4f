"""The categories of a data set: names, colors and keypoints, and how COCO files write them."""

from __future__ import annotations

import json
import logging
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, SupportsIndex

logger = logging.getLogger(__name__)

Pair = tuple[int, int]
Read = Callable[[], tuple[Any, ...]]

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
"""The sigma of each of them in COCO's object keypoint similarity (OKS)."""


def voc_color(number: int) -> tuple[int, int, int]:
    """The color of a number, 0 to 255, in the palette of PASCAL VOC's label maps: black for 0, and no two alike.

    The lowest three bits of a number are the highest bits of red, green and blue, the next three those after.
    """
    channels = [0, 0, 0]
    for bit in range(8):
        channels[bit % 3] |= (number >> bit & 1) << (7 - bit // 3)
    return channels[0], channels[1], channels[2]


UNUSED_LABEL = "N/A"
"""The name of labels without a class, which torchvision's COCO models have; evaluation ignores them."""


@dataclass(frozen=True)
class Category:
    """One class of a data set; its position in a list of categories is its label.

    Args:
        id: its id in the data set.
        name: its name.
        is_thing: whether it has countable objects; grass and sky do not.
        color: ``(red, green, blue)`` in 0..255, for drawing; None: no color of its own.
        keypoints: the names of its J keypoints.
        swap_pairs: pairs of keypoint indices that a mirror swaps; None: those whose names differ only in "left" and
            "right".
        skeleton: pairs of keypoint indices to draw a line between.
        sigmas: the sigma of each keypoint in COCO's object keypoint similarity; None: COCO's where the keypoints are
            those of COCO's person, else unknown.

    Raises:
        ValueError: a pair has an index out of range, or the number of `sigmas` is not that of the keypoints.
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
        if isinstance(self.id, SupportsIndex):  # one of NumPy, which files do not hold
            object.__setattr__(self, "id", operator.index(self.id))
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
        """The category as plain values for a file, without those that equal their defaults."""
        plain = {one.name: one.default for one in fields(self)} | {"swap_pairs": left_right_pairs(self.keypoints)}
        plain["sigmas"] = PERSON_SIGMAS if self._is_person else None
        return {name: _listed(value) for name, value in asdict(self).items() if value != plain[name]}


def left_right_pairs(names: Sequence[str]) -> tuple[Pair, ...]:
    """The pairs of positions whose names differ only in "left" and "right"."""
    names = list(names)
    mirrored = [name.replace("left", "right") for name in names]
    return tuple(
        (left, names.index(other))
        for left, (name, other) in enumerate(zip(names, mirrored, strict=True))
        if other != name and other in names
    )


def keypoint_category(categories: Sequence[Category]) -> Category | None:
    """The first category with keypoints, whose layout all keypoints of the data set share; None without any."""
    return next((category for category in categories if category.keypoints), None)


def from_coco(entry: Mapping[str, Any], source: str) -> Category:
    """The category of an entry of a COCO file, where indices of keypoints start at 1.

    ``isthing`` and ``color`` come from COCO's panoptic files; ``swap_pairs`` (from 1 as well) and ``sigmas`` are
    detkit's own. A malformed value is dropped with a warning that names `source`.
    """
    is_thing = entry.get("isthing", 1) in (1, None)
    names = entry.get("keypoints") or ()
    if not isinstance(names, (list, tuple)):
        logger.warning("%s: the keypoints of category %r are no list and not used", source, entry["name"])
        names = ()
    category = Category(entry["id"], entry["name"], is_thing, keypoints=tuple(map(str, names)))
    further: dict[str, Read] = {
        "color": lambda: _color(entry["color"]),
        "swap_pairs": lambda: _from_one(entry["swap_pairs"]),
        "skeleton": lambda: _from_one(entry["skeleton"]),
        "sigmas": lambda: tuple(map(float, entry["sigmas"])),
    }
    for name, read in further.items():
        if entry.get(name):
            try:
                values: dict[str, Any] = {name: read()}
                category = replace(category, **values)
            except (TypeError, ValueError, OverflowError) as error:
                logger.warning(
                    "%s: the %s of category %r is not used (%s)", source, name, entry["name"], error or type(error)
                )
    return category


def entries_in(content: bytes) -> list[dict[str, Any]] | None:
    """The categories of a COCO file without parsing the rest of it; None where that is not possible."""
    matches = list(re.finditer(rb'"categories"\s*:\s*(?=\[)', content))
    if len(matches) != 1:
        return None
    rest = content[matches[0].end() :]
    for size in (2**16, 2**20, 2**24, len(rest)):
        try:
            entries, _ = json.JSONDecoder().raw_decode(rest[:size].decode(errors="ignore"))
            break
        except (ValueError, RecursionError):
            entries = []
    known = [one for one in entries if isinstance(one, dict) and type(one.get("id")) is int and "name" in one]
    are_whole = len(known) == len(entries) > 0 and all(isinstance(one["name"], str) for one in known)
    return sorted(known, key=lambda entry: entry["id"]) if are_whole else None


def _color(values: Sequence[int]) -> tuple[int, ...]:
    if len(values) != 3 or not all(0 <= int(value) <= 255 for value in values):
        raise ValueError(f"{values!r} is not red, green and blue in 0..255")
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
