"""Faults of boxes: without area, outside of the image, tiny, annotated twice, too many in an image."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from detkit.data.faults.problem import MOST_EXAMPLES, Level, Problem, counted
from detkit.data.faults.suspicious_boxes import outside, repeated_objects, wrong_format
from detkit.data.faults.written_split import WrittenSplit

COUNTED_BY_COCO = 100
"""COCO's AP takes that many detections of a class in an image."""

_TINY = 1.0  # pixels
_SAME_PLACE = 0.9  # the IoU of boxes of one object
_LEAST_SIDE = 8  # of boxes that are compared: of smaller ones the neighbors of an object have the same box
_MOST_COMPARED = 4000  # objects of an image, so that a matrix of IoUs fits into memory


def box_problems(split: WrittenSplit) -> list[Problem]:
    """The faults of the boxes of a split."""
    checks = (_wrong_format, _without_area, _outside, _tiny, _repeated, _same_place, _many)
    return [problem for check in checks for problem in check(split)]


def at_objects(
    split: WrittenSplit, rows: np.ndarray, name: str, level: Level, sentence: str, advice: str
) -> Iterator[Problem]:
    """A fault of the objects at some positions; none without them."""
    if len(rows):
        shown = rows[:MOST_EXAMPLES].tolist()
        examples = [f"{split.place(row)}: {split.box_text(row)}" for row in shown]
        yield Problem(name, level, split.name, len(rows), sentence, advice, examples, [[row] for row in shown])


def without_area(split: WrittenSplit) -> np.ndarray:
    """Which boxes have no area within their image, bool ``(m,)``: a training refuses them."""
    sizes = split.object_sizes[:, ::-1].astype(np.float64)
    limits = np.where(sizes > 0, sizes, np.inf)
    low = split.boxes[:, :2].clip(0, limits)
    high = (split.boxes[:, :2] + split.boxes[:, 2:]).clip(0, limits)
    has_area = ((split.boxes[:, 2:] > 0) & (high.astype(np.float32) > low.astype(np.float32))).all(axis=1)
    is_bad: np.ndarray = ~has_area
    return is_bad


def _wrong_format(split: WrittenSplit) -> Iterator[Problem]:
    if sign := wrong_format(split):
        yield Problem("box_format", "warning", split.name, len(split.boxes), sign.what, sign.advice)


def _without_area(split: WrittenSplit) -> Iterator[Problem]:
    rows = np.flatnonzero(without_area(split))
    yield from at_objects(
        split,
        rows,
        "boxes_without_area",
        "error",
        f"{counted(len(rows), 'box has', 'boxes have')} no area within the image",
        "correct them, or leave them out with --data.on_bad_box skip",
    )


def _outside(split: WrittenSplit) -> Iterator[Problem]:
    is_known = split.object_sizes.all(axis=1)
    rows = np.flatnonzero(outside(split, split.boxes) & is_known & ~without_area(split))
    yield from at_objects(
        split,
        rows,
        "boxes_outside",
        "warning",
        f"{counted(len(rows), 'box reaches', 'boxes reach')} more than a pixel out of the image",
        "they are clipped to it; check whether the image was resized or cut after it was annotated",
    )


def _tiny(split: WrittenSplit) -> Iterator[Problem]:
    rows = np.flatnonzero((split.boxes[:, 2:] < _TINY).any(axis=1) & ~without_area(split) & ~split.iscrowd)
    if wrong_format(split) is None:  # of fractions that are read as pixels, all are
        yield from at_objects(
            split,
            rows,
            "tiny_boxes",
            "warning",
            f"{counted(len(rows), 'box is', 'boxes are')} less than a pixel wide or high",
            "such boxes are usually slips of the mouse, and no detector finds them; remove or correct them",
        )


def _repeated(split: WrittenSplit) -> Iterator[Problem]:
    rows = repeated_objects(split)
    yield from at_objects(
        split,
        rows,
        "repeated_objects",
        "warning",
        f"{counted(len(rows), 'object repeats', 'objects repeat')} another one with the same box and class",
        "a detector finds it once, so that the copies count as missed; remove them",
    )


def _same_place(split: WrittenSplit) -> Iterator[Problem]:
    """Objects with nearly the box of another one: of the same class, or of another."""
    first, second = _pairs_in_one_place(split)
    is_other = split.labels[first] != split.labels[second]
    exact = (split.boxes[first] == split.boxes[second]).all(axis=1)
    yield from _pairs(
        split,
        first[is_other],
        second[is_other],
        "boxes_of_two_classes",
        "{pairs} of different classes with nearly the same box",
        "usually one of the two labels is wrong: a detector learns both, and one of them counts as a false positive",
    )
    yield from _pairs(
        split,
        first[~is_other & ~exact],
        second[~is_other & ~exact],
        "objects_twice",
        "{pairs} of one class with nearly the same box: it looks annotated twice",
        "remove one of them; suppression keeps only one of two detections there",
    )


def _pairs(
    split: WrittenSplit, first: np.ndarray, second: np.ndarray, name: str, sentence: str, advice: str
) -> Iterator[Problem]:
    if not len(first):
        return
    pairs = np.stack((first, second), axis=1)[:MOST_EXAMPLES].tolist()
    shown = [
        f"{split.place(one)} ({split.classes[split.labels[one]]}) and {split.object_names[other]} "
        f"({split.classes[split.labels[other]]}): {split.box_text(one)}"
        for one, other in pairs
    ]
    sentence = sentence.format(pairs=counted(len(first), "pair of objects", "pairs of objects"))
    yield Problem(name, "warning", split.name, len(first), sentence, advice, shown, pairs)


def _pairs_in_one_place(split: WrittenSplit) -> tuple[np.ndarray, np.ndarray]:
    """The positions of the objects of each pair, int64 ``(P,)`` and ``(P,)``; crowds are left out."""
    compared = ~split.iscrowd & (split.boxes[:, 2:] >= _LEAST_SIDE).all(axis=1)
    firsts, seconds = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for objects in split.objects_of_images():
        rows = objects[compared[objects]][:_MOST_COMPARED]
        if len(rows) < 2:
            continue
        low, sides = split.boxes[rows, :2], split.boxes[rows, 2:]
        high, areas = low + sides, sides.prod(axis=1)
        shared = (np.minimum(high[:, None], high) - np.maximum(low[:, None], low)).clip(0).prod(axis=2)
        one, other = np.nonzero(np.triu(shared >= _SAME_PLACE * (areas[:, None] + areas - shared), k=1))
        firsts.append(rows[one])
        seconds.append(rows[other])
    return np.concatenate(firsts), np.concatenate(seconds)


def _many(split: WrittenSplit) -> Iterator[Problem]:
    """Images with more objects of a class than COCO counts detections of that class."""
    classes = max(len(split.classes), 1)
    keys = (split.image_rows * classes + split.labels)[~split.iscrowd]
    groups, counts = np.unique(keys, return_counts=True)
    is_many = counts > COUNTED_BY_COCO
    groups, counts = groups[is_many], counts[is_many]
    if len(groups):
        order = np.argsort(-counts, kind="stable")
        images = len(np.unique(groups // classes))
        yield Problem(
            "many_objects",
            "note",
            split.name,
            images,
            f"{counted(images, 'image holds', 'images hold')} more than {COUNTED_BY_COCO} objects of a class, up to "
            f"{counts.max()}",
            f"COCO's AP counts {COUNTED_BY_COCO} detections of a class in an image, so that others count as missed: "
            "raise `detections` of the model or its postprocess, and evaluate with more detections or on parts of "
            "images",
            [
                f"{split.file_names[group // classes]}: {count} objects of class {split.classes[group % classes]}"
                for group, count in zip(groups[order].tolist(), counts[order].tolist(), strict=True)
            ][:MOST_EXAMPLES],
        )
