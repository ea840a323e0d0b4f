"""Faults of classes: names that differ in their spelling, classes that a split lacks, rare ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from detkit.data.faults.problem import MOST_EXAMPLES, Problem, counted
from detkit.data.faults.suspicious_labels import wrong_labels
from detkit.data.faults.written_split import WrittenSplit

_RARE = 20.0  # the ratio of the most frequent to the rarest class from which on one is rare
_REPEATED = 3.0  # how often the images of the rarest class are to be drawn


def labels_of(split: WrittenSplit) -> np.ndarray:
    """int64 the labels of all objects without crowds or, where images have classes, of all images."""
    if split.image_labels is not None:
        return split.image_labels[split.image_labels >= 0]
    return split.labels[~split.iscrowd]


def class_problems(splits: Sequence[WrittenSplit], is_whole: bool = True) -> list[Problem]:
    """The faults of the classes of all splits, the training data first.

    Args:
        splits: of the data.
        is_whole: whether these are all splits, so that a class without objects in them has none.
    """
    return [
        *_similar_names(splits),
        *_other_classes(splits),
        *(problem for split in splits for problem in _wrong_labels(split)),
        *(_absent(splits) if is_whole else ()),
        *_rare(splits),
    ]


def plain_name(name: str) -> str:
    """A class's name without what spellings of one name differ in: case, spaces, underscores, hyphens."""
    return "".join(one for one in name.casefold() if one.isalnum()) or name


def _similar_names(splits: Sequence[WrittenSplit]) -> Iterator[Problem]:
    spellings: dict[str, dict[str, None]] = {}
    for split in splits:
        for name in split.classes:
            spellings.setdefault(plain_name(name), {})[name] = None
    found = [" and ".join(map(repr, names)) for names in spellings.values() if len(names) > 1]
    if found:
        yield Problem(
            "similar_class_names",
            "warning",
            _joined(splits),
            len(found),
            f"{counted(len(found), 'class is', 'classes are')} written in several ways",
            "each spelling is a class of its own: give them one name",
            found[:MOST_EXAMPLES],
        )


def _other_classes(splits: Sequence[WrittenSplit]) -> Iterator[Problem]:
    for split in splits[1:]:
        if list(split.classes) == list(splits[0].classes):
            continue
        lacks = [name for name in splits[0].classes if name not in split.classes]
        more = [name for name in split.classes if name not in splits[0].classes]
        examples = [f"{name!r} is in {splits[0].name} alone" for name in lacks]
        examples += [f"{name!r} is in {split.name} alone" for name in more]
        yield Problem(
            "different_classes",
            "error",
            f"{splits[0].name}, {split.name}",
            len(examples) or len(split.classes),
            f"{splits[0].name} and {split.name} "
            + ("list different classes" if examples else "list their classes in another order"),
            "list the same names in the same order of ids in both",
            examples[:MOST_EXAMPLES],
        )


def _wrong_labels(split: WrittenSplit) -> Iterator[Problem]:
    labels = labels_of(split)
    if sign := wrong_labels(split.classes, labels, split.stuff):
        yield Problem("labels", "warning", split.name, len(labels), sign.what, sign.advice)


def _absent(splits: Sequence[WrittenSplit]) -> Iterator[Problem]:
    """Classes that are evaluated but never learned, or are nowhere."""
    counts = {split.name: _counts_by_name(split) for split in splits}
    first = splits[0].name
    for split in splits[1:] if any(counts[first].values()) else ():
        unlearned = [name for name, count in counts[split.name].items() if count and not counts[first].get(name)]
        if unlearned:
            yield Problem(
                "classes_without_training",
                "warning",
                f"{first}, {split.name}",
                len(unlearned),
                f"{counted(len(unlearned), 'class is', 'classes are')} in {split.name}, but never in {first}",
                "it cannot be learned and pulls the mean AP down: move some of its images to the training split",
                [f"{name}: {counts[split.name][name]} in {split.name}" for name in unlearned[:MOST_EXAMPLES]],
            )
    names = list(dict.fromkeys(name for split in splits for name in split.classes if name not in split.stuff))
    empty = [name for name in names if not any(of.get(name) for of in counts.values())]
    if empty and len(empty) < len(names):
        yield Problem(
            "empty_classes",
            "note",
            _joined(splits),
            len(empty),
            f"{counted(len(empty), 'class is', 'classes are')} listed, but never annotated",
            "remove such classes, unless their images come later",
            empty[:MOST_EXAMPLES],
        )


def _rare(splits: Sequence[WrittenSplit]) -> Iterator[Problem]:
    split = splits[0]
    counts = {name: count for name, count in _counts_by_name(split).items() if count}
    if len(counts) < 2 or max(counts.values()) < _RARE * min(counts.values()):
        return
    most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    rare = sorted((name for name in counts if _RARE * counts[name] <= counts[most]), key=counts.__getitem__)
    yield Problem(
        "rare_classes",
        "note",
        split.name,
        len(rare),
        f"{most!r} has {counts[most] / counts[least]:.0f} times as many {_unit(split)} as {least!r}: {counts[most]} "
        f"and {counts[least]}",
        f"draw images of rare classes more often with --data.repeat_threshold {repeat_threshold(split):g} "
        "(docs/data.md)",
        [f"{name}: {counts[name]}" for name in rare[:MOST_EXAMPLES]],
    )


def repeat_threshold(split: WrittenSplit) -> float:
    """The ``data.repeat_threshold`` with which images of the rarest class are drawn about three times as often."""
    frequencies = image_frequencies(split)
    present = frequencies[frequencies > 0]
    rarest = float(present.min()) if len(present) else 1.0
    return float(f"{min(_REPEATED**2 * rarest, 0.5):.1g}")


def image_frequencies(split: WrittenSplit) -> np.ndarray:
    """float64 ``(K,)`` the share of the images that hold each class."""
    if split.image_labels is not None:
        held = labels_of(split)
    else:
        counted_rows = ~split.iscrowd
        pairs = np.stack((split.image_rows[counted_rows], split.labels[counted_rows]))
        held = np.unique(pairs, axis=1)[1]
    frequencies: np.ndarray = np.bincount(held, minlength=len(split.classes)) / max(len(split), 1)
    return frequencies


def _counts_by_name(split: WrittenSplit) -> dict[str, int]:
    counts = np.bincount(labels_of(split), minlength=len(split.classes)).tolist()
    return dict(zip(split.classes, counts, strict=False))


def _unit(split: WrittenSplit) -> str:
    return "objects" if split.image_labels is None else "images"


def _joined(splits: Sequence[WrittenSplit]) -> str:
    return ", ".join(split.name for split in splits)
