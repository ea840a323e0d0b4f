"""COCO files without faults, read fast: whatever is out of the ordinary makes a reader give up.

A file in which something is missing, of another type or written in another way is for the readers in
`ground_truth` and `detections_file`, which take their time, fill in, and say what is wrong where.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import msgspec
import numpy as np
from msgspec import Struct

Id = int | str
Box = tuple[float, float, float, float]


class RunLengths(Struct, gc=False):
    """A mask as run lengths, compressed if `counts` is a string."""

    size: tuple[int, int]
    counts: str | list[int]


Segmentation = list[list[float]] | RunLengths


class Image(Struct, gc=False):
    """An image of an annotation file."""

    id: Id
    height: int | None = None
    width: int | None = None


class Category(Struct, gc=False):
    """A category of an annotation file."""

    id: int
    name: str


class Annotation(Struct, gc=False):
    """What comparing boxes needs of an annotation."""

    image_id: Id
    category_id: int
    bbox: Box
    area: float
    iscrowd: int | bool = 0
    difficult: int | bool = 0


class MaskAnnotation(Annotation, gc=False):
    """What comparing masks needs."""

    segmentation: Segmentation = msgspec.field(default_factory=list)


class KeypointAnnotation(Annotation, gc=False):
    """What comparing keypoints needs."""

    keypoints: list[float] = msgspec.field(default_factory=list)
    num_keypoints: int = -1


AnyAnnotation = TypeVar("AnyAnnotation", Annotation, MaskAnnotation, KeypointAnnotation)


class AnnotationFile(Struct, Generic[AnyAnnotation]):
    """The lists of an annotation file."""

    images: list[Image]
    annotations: list[AnyAnnotation]
    categories: list[Category]


class Result(Struct, gc=False):
    """An entry of a results file with boxes."""

    image_id: Id
    category_id: int
    score: float
    bbox: Box


class MaskResult(Struct, gc=False):
    """An entry of a results file with masks; boxes may be there."""

    image_id: Id
    category_id: int
    score: float
    segmentation: RunLengths
    bbox: Box | None = None


class KeypointResult(Struct, gc=False):
    """An entry of a results file with keypoints; neither boxes nor masks may be there, which would give its area."""

    image_id: Id
    category_id: int
    score: float
    keypoints: list[float]
    bbox: None = None
    segmentation: None = None


_ANNOTATIONS = {
    "bbox": msgspec.json.Decoder(AnnotationFile[Annotation]),
    "segm": msgspec.json.Decoder(AnnotationFile[MaskAnnotation]),
    "keypoints": msgspec.json.Decoder(AnnotationFile[KeypointAnnotation]),
}
_RESULTS = {
    "bbox": msgspec.json.Decoder(list[Result]),
    "segm": msgspec.json.Decoder(list[MaskResult]),
    "keypoints": msgspec.json.Decoder(list[KeypointResult]),
}


def read_annotations(path: Path, iou_type: str) -> AnnotationFile | None:
    """An annotation file in which nothing is missing; None for any other."""
    return _read(path, _ANNOTATIONS[iou_type])


def read_results(path: Path, iou_type: str) -> list | None:
    """A results file whose entries all have what is compared; None for any other."""
    return _read(path, _RESULTS[iou_type])


def _read(path: Path, decoder: msgspec.json.Decoder):
    try:
        return decoder.decode(path.read_bytes())
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def column(entries: Sequence[Struct], value: Callable[[Struct], object], dtype: type) -> np.ndarray:
    """``(N,)`` one value of each entry."""
    return np.fromiter(map(value, entries), dtype, len(entries))


def table(
    entries: Sequence[Struct], values: Callable[[Struct], Sequence[float]], width: int, dtype: type = np.float64
) -> np.ndarray:
    """``(N, width)`` as many values of each entry."""
    flat = np.fromiter(itertools.chain.from_iterable(map(values, entries)), dtype, width * len(entries))
    return flat.reshape(-1, width)
