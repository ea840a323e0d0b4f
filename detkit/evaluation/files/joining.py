"""The one way by which entries of a file are joined with the images and categories of the annotations."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np

from detkit.coco_files.entry_lists import as_id
from detkit.errors import InputError
from detkit.evaluation.ground_truth import GroundTruth, plain_id
from detkit.files import FileNames, path_parts
from detkit.files.json_values import shown

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reference:
    """How entries name an image or a category, and the first entry that does so.

    Args:
        name: a file name or the name of a class; None where there is none.
        id: an id as the file has it; None where there is none.
        entry: the number of the entry, for messages.
    """

    name: str | None
    id: Any
    entry: int


@dataclass(frozen=True, eq=False)
class Known:
    """What the annotations call their images, or their categories.

    Args:
        what: ``image`` or ``category``.
        id_key: the key of the id in an entry.
        name_key: the key of the name in an entry.
        source: how messages name the annotations.
        ids: the ids in order.
        positions: the position of each id.
        find: the positions of what has a name; None where the annotations have no names.
        nearest: a name like a given one.
        same_name: whether two names are two ways to write the same one.
    """

    what: str
    id_key: str
    name_key: str
    source: str
    ids: Sequence[Any]
    positions: Mapping[Any, int]
    find: Callable[[str], list[int]] | None
    nearest: Callable[[str], str | None]
    same_name: Callable[[str, str], bool]


def known_images(truth: GroundTruth) -> Known:
    """The images of the ground truth, by file name where it has file names."""
    numbers = [truth.image_numbers[key] for key in truth.image_names]
    names = FileNames(list(truth.image_names.values()))
    return Known(
        "image",
        "image_id",
        "file_name",
        truth.source,
        truth.image_ids,
        truth.image_numbers,
        (lambda name: [numbers[row] for row in names.find(name)]) if numbers else None,
        names.nearest,
        lambda one, other: path_parts(one) == path_parts(other),
    )


def known_categories(truth: GroundTruth) -> Known:
    """The categories of the ground truth."""
    named: dict[str, list[int]] = defaultdict(list)
    for position, category in enumerate(truth.categories):
        named[category.name].append(position)
    return Known(
        "category",
        "category_id",
        "category",
        truth.source,
        [category.id for category in truth.categories],
        truth.category_positions,
        lambda name: named.get(name, []),
        lambda name: next(iter(get_close_matches(name, named, n=1, cutoff=0.0)), None),
        lambda one, other: one == other,
    )


def checked_id(value: Any, known: Known, where: str) -> int | str:
    """An id of a file as Python's int or text; 42.0, as tables of numbers have it, is 42.

    Raises:
        InputError: it is neither, and so not in the annotations.
    """
    own = as_id(plain_id(value))
    if own is not None:
        return own
    raise InputError(
        f"{where}: {known.what} id {shown(value)} is not among those of {known.source} ({_listed(known.ids)}): ids are "
        "whole numbers or texts"
    )


def join(references: Sequence[Reference], known: Known, source: str) -> np.ndarray:
    """int64 ``(N,)`` the position among `known` of each of N different references.

    Where an entry has a name, the name decides, since programs number images and classes in their own ways. Its id must
    be that of the name, or the file's ids must be a numbering of its own, with no id of the annotations in it. An id
    that repeats the name, as ``detkit predict`` writes it, says no more than the name.

    Args:
        references: how the entries name images, or categories.
        known: what the annotations call them.
        source: how messages name the file.

    Raises:
        InputError: something is not in the annotations or ambiguous, or name and id contradict each other; the message
            names the first such entry.
    """
    positions: list[int] = []
    differing: list[tuple[Reference, int]] = []
    agrees = False
    for one in references:
        position = _position(one, known, source)
        positions.append(position)
        if one.name is None or one.id is None or _repeats_name(one, position, known):
            continue
        if known.positions.get(one.id) == position:
            agrees = True
        else:
            differing.append((one, position))
    if differing:
        _check_own_numbering(differing, agrees, known, source)
    _check_names(references, positions, known, source)
    return np.array(positions, dtype=np.int64)


def _position(one: Reference, known: Known, source: str) -> int:
    where = f"{source}: entry {one.entry}"
    by_id = None if one.id is None else known.positions.get(one.id)
    if one.name is None or known.find is None:
        if by_id is None:
            raise InputError(_unknown_id(one, known, where))
        return by_id
    candidates = known.find(one.name)
    if not candidates:
        nearest = known.nearest(one.name)
        hint = "" if nearest is None else f", the nearest is {nearest!r:.200}"
        raise InputError(
            f"{where}: {known.name_key} {one.name!r:.200} is not among the {len(known.ids)} {_plural(known)} of "
            f"{known.source}{hint}; evaluate against the annotations that the detections were made for"
        )
    if by_id in candidates:
        return by_id  # type: ignore[return-value]  # None is not among them
    if len(candidates) > 1:
        ids = _listed([known.ids[position] for position in candidates])
        raise InputError(
            f"{where}: {known.name_key} {one.name!r:.200} can be any of the {_plural(known)} {ids} of {known.source}; "
            f"write names that tell them apart, or the {known.id_key} of the annotations"
        )
    return candidates[0]


def _repeats_name(one: Reference, position: int, known: Known) -> bool:
    """Whether the id is a name of the same thing, and not an id of another one."""
    if not isinstance(one.id, str) or known.find is None or known.positions.get(one.id, position) != position:
        return False
    return one.id == one.name or known.find(one.id) == [position]


def _check_own_numbering(differing: list[tuple[Reference, int]], agrees: bool, known: Known, source: str) -> None:
    """Ids that are not those of the annotations are fine if none of them is, and each stands for one name.

    Raises:
        InputError: name and id contradict each other.
    """
    position_of: dict[Any, int] = {}
    id_of: dict[int, Any] = {}
    for one, position in differing:
        is_known = one.id in known.positions or _is_name(one.id, known)
        other = position_of.setdefault(one.id, position) != position or id_of.setdefault(position, one.id) != one.id
        if agrees or is_known or other:
            raise InputError(
                f"{source}: entry {one.entry}: {known.id_key} {shown(one.id)} and {known.name_key} {one.name!r:.200} "
                f"contradict each other, since {known.source} has that {known.name_key} with the id "
                f"{shown(known.ids[position])}; correct one of them, or leave {known.id_key} out of all entries"
            )
    logger.warning(
        "%s numbers %s in its own way (%s %s is %s in %s), so they are joined by %s",
        source,
        _plural(known),
        known.id_key,
        shown(differing[0][0].id),
        shown(known.ids[differing[0][1]]),
        known.source,
        known.name_key,
    )


def _is_name(value: Any, known: Known) -> bool:
    return isinstance(value, str) and known.find is not None and bool(known.find(value))


def _check_names(references: Sequence[Reference], positions: Sequence[int], known: Known, source: str) -> None:
    """Raise an `InputError` where two files would become one image."""
    names: dict[int, Reference] = {}
    for one, position in zip(references, positions, strict=True):
        if one.name is None:
            continue
        first = names.setdefault(position, one)
        if first.name is not None and first.name != one.name and not known.same_name(first.name, one.name):
            raise InputError(
                f"{source}: entries {first.entry} and {one.entry} have the {known.name_key}s {first.name!r:.200} and "
                f"{one.name!r:.200}, but {known.source} has only one {known.what} of that name "
                f"({shown(known.ids[position])}); leave out the other file's detections"
            )


def _unknown_id(one: Reference, known: Known, where: str) -> str:
    if one.id is None:
        return f"{where} has no {known.id_key!r}; add it to every entry"
    no_names = "" if one.name is None else f", which has no {known.name_key} to join by"
    return (
        f"{where}: {known.what} id {shown(one.id)} is not among the {len(known.ids)} {_plural(known)} of "
        f"{known.source} ({_listed(known.ids)}){no_names}; evaluate against the annotations that the "
        "detections were made for"
    )


def _plural(known: Known) -> str:
    return {"image": "images", "category": "categories"}[known.what]


def _listed(ids: Collection[Any]) -> str:
    first = ", ".join(map(shown, list(ids)[:5]))
    return f"[{first} …]" if len(ids) > 5 else f"[{first}]"
