"""Read the splits of a folder with all their faults, where a training stops at the first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from detkit.data.conversion.annotated_splits import read_splits
from detkit.data.faults.problem import MOST_EXAMPLES, Problem, counted
from detkit.data.faults.written_split import WrittenSplit
from detkit.data.formats.coco import find_annotations, find_images, find_split
from detkit.data.formats.coco_annotations import read_categories
from detkit.data.formats.coco_faults import read_coco_with_faults
from detkit.data.formats.open_dataset import format_of, has_split_of, open_split
from detkit.data.splits import Split, Splits
from detkit.errors import InputError
from detkit.structures import Category
from detkit.structures.categories import keypoint_category

SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class ReadFolder:
    """The splits that could be read.

    Args:
        format: what the data is called.
        splits: in their order, the training data first.
        problems: what could not be read.
        is_whole: whether all splits were read, so that a file that none of them names belongs to none.
    """

    format: str
    splits: list[WrittenSplit]
    problems: list[Problem]
    is_whole: bool


def read_folder(described: Splits, extracted: Path) -> ReadFolder:
    """Read all splits that there are.

    Args:
        described: where the data is.
        extracted: a folder for images that are in annotation files alone.

    Raises:
        InputError: there is no split that can be read.
    """
    read: list[WrittenSplit] = []
    problems: list[Problem] = []
    failures: list[InputError] = []
    for split in SPLITS:
        if not _is_there(described, split):
            continue
        messages: list[str] = []
        try:
            read.append(_read(described, split, messages, extracted))
        except InputError as error:
            failures.append(error)
            messages = [str(error)]
        if messages:
            problems.append(_unreadable(split, messages))
    if failures and not read:
        raise failures[0]
    if not read:
        described.open("train", {})  # which says what is there instead
        raise InputError(f"{described.root}: there is no split train, val or test")
    return ReadFolder(_called(described), read, problems, is_whole=not failures)


def _called(described: Splits) -> str:
    if described.make is not None:
        return "your own data set"
    return "COCO files" if described.root is None else str(described.format or format_of(described.root))


def _is_there(described: Splits, split: Split) -> bool:
    if any(described.paths[split]):
        return True
    if described.make is not None:
        return split != "test"
    return described.root is not None and has_split_of(described.root, described.names[split], described.format)


def _read(described: Splits, split: Split, messages: list[str], extracted: Path) -> WrittenSplit:
    name, root = described.names[split], described.root
    if described.make is not None:
        return replace(WrittenSplit.of(described.make(name)), name=split)
    images, annotations = described.paths[split]
    if images or annotations:
        annotations = annotations or find_annotations(_root(root, split, "annotations"), name)
        images = images or find_images(_root(root, split, "images"), name, annotations, any_folder=True)
        return _read_coco(split, images, annotations, messages)
    root = _root(root, split, "annotations")
    format = described.format or format_of(root)
    if format == "folders" or format == "shapenet":
        dataset = open_split(root, name, format)
        content = dataset.packed_annotations.to_coco()
        return WrittenSplit.of_content(split, content, str(dataset.annotations_path), dataset.images_path)
    if format == "coco":
        return _read_coco(split, *find_split(root, name), messages)
    (one,) = read_splits(root, format, [name], described.class_names, messages, True, extracted)
    return WrittenSplit.of_content(split, one.content, str(root), one.images_path)


def _root(root: Path | None, split: Split, missing: str) -> Path:
    if root is None:
        raise InputError(f"give --data.{split}_{missing}, or the folder of the data")
    return root


def _read_coco(split: Split, images: Path, annotations: Path, messages: list[str]) -> WrittenSplit:
    content = read_coco_with_faults(annotations, messages)
    known = {one.id: one for one in _categories(annotations)}
    categories = [{**one, **_keypoints(known, one["id"])} for one in content["categories"]]
    return WrittenSplit.of_content(split, content | {"categories": categories}, str(annotations), images)


def _categories(annotations: Path) -> list[Category]:
    try:
        return read_categories(annotations) or []
    except InputError:  # which the reader of the whole file has told
        return []


def _keypoints(known: Mapping[int, Category], id: int) -> dict[str, Any]:
    category = keypoint_category([known[id]]) if id in known else None
    return {"keypoints": list(category.keypoints)} if category else {}


def _unreadable(split: str, messages: list[str]) -> Problem:
    return Problem(
        "unreadable_annotations",
        "error",
        split,
        len(messages),
        f"{counted(len(messages), 'annotation or file', 'annotations or files')} cannot be read",
        "correct them; a training stops at the first",
        messages[:MOST_EXAMPLES],
    )
