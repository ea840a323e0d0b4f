"""Faults of image files: missing, broken, of another size than stated, turned, listed twice, or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from detkit.data.faults.problem import MOST_EXAMPLES, Level, Problem, counted
from detkit.data.faults.written_split import WrittenSplit
from detkit.files import is_hidden, named_file
from detkit.images import is_image
from detkit.images.orientation import annotated_orientation, turned_size
from detkit.trust.inspection.image_scan import ImageFile, ScannedImages


def image_files(splits: Sequence[WrittenSplit]) -> list[list[Path]]:
    """The file of each image of each split; none where its folder is unknown."""
    return [
        [Path(os.path.normpath(named_file(split.images_path, name))) for name in split.file_names]
        if split.images_path is not None
        else []
        for split in splits
    ]


def present_files(paths: Sequence[Sequence[Path]]) -> list[ImageFile]:
    """Those that exist, in the order of the splits."""
    folders = {path.parent for own in paths for path in own}
    listed = {folder: _names_in(folder) for folder in folders}
    return [
        ImageFile(split, row, path)
        for split, own in enumerate(paths)
        for row, path in enumerate(own)
        if path.name in listed[path.parent]
    ]


def listing_problems(
    splits: Sequence[WrittenSplit], paths: Sequence[Sequence[Path]], present: Sequence[ImageFile], is_whole: bool
) -> Iterator[Problem]:
    """Missing files, files that several images name, and files that no image names.

    Args:
        splits: all splits.
        paths: the file of each image of each.
        present: those that exist.
        is_whole: whether all splits were read, so that a file that none of them names belongs to none.
    """
    there = {(file.split, file.row) for file in present}
    for number, (split, own) in enumerate(zip(splits, paths, strict=True)):
        missing = [split.file_names[row] for row in range(len(own)) if (number, row) not in there]
        yield from _listed(
            "missing_images", "error", split.name, missing,
            f"{counted(len(missing), 'image file is', 'image files are')} not in {split.images_path}",
            "correct the folder or the names, or leave them out with --data.on_bad_image skip",
        )  # fmt: skip
        first: dict[Path, int] = {}
        again = [f"{path}: {split.image_ids[first[path]]!r} and {split.image_ids[row]!r}"
                 for row, path in enumerate(own) if first.setdefault(path, row) != row]  # fmt: skip
        yield from _listed(
            "files_listed_twice", "warning", split.name, again,
            f"{counted(len(again), 'image names', 'images name')} a file that another image names",
            "their objects are divided among them, so that each teaches that the others' are background: join them",
        )  # fmt: skip
    if is_whole:
        yield from _unlisted(splits, paths)


def _unlisted(splits: Sequence[WrittenSplit], paths: Sequence[Sequence[Path]]) -> Iterator[Problem]:
    known = {path for own in paths for path in own}
    folders = sorted({path.parent for path in known})
    unlisted = [
        str(path) for folder in folders for name in _names_in(folder)
        if is_image(name) and not is_hidden(Path(name)) and (path := folder / name) not in known
    ]  # fmt: skip
    yield from _listed(
        "unlisted_images", "warning", ", ".join(split.name for split in splits), sorted(unlisted),
        f"{counted(len(unlisted), 'image in the folders is', 'images in the folders are')} named by no annotation",
        "they are not used: annotate them, list those without objects, or remove them",
    )  # fmt: skip


def file_problems(splits: Sequence[WrittenSplit], scanned: ScannedImages) -> Iterator[Problem]:
    """Files that cannot be decoded, or whose size or orientation is not that of their annotations."""
    for number, split in enumerate(splits):
        rows = [k for k, file in enumerate(scanned.files) if file.split == number]
        broken = [str(scanned.errors[k]) for k in rows if scanned.errors[k] is not None]
        yield from _listed(
            "broken_images", "error", split.name, broken,
            f"{counted(len(broken), 'image', 'images')} cannot be decoded",
            "copy or download them again, or leave them out with --data.on_bad_image skip",
        )  # fmt: skip
        yield from _sizes(split, scanned, rows)
        flat = [split.file_names[scanned.files[k].row] for k in rows
                if scanned.errors[k] is None and not np.ptp(scanned.thumbnails[k])]  # fmt: skip
        yield from _listed(
            "blank_images", "warning", split.name, flat,
            f"{counted(len(flat), 'image has', 'images have')} one color everywhere",
            "they are usually failed exports: write them again, or remove them",
        )  # fmt: skip


def _sizes(split: WrittenSplit, scanned: ScannedImages, rows: Sequence[int]) -> Iterator[Problem]:
    wrong: list[str] = []
    as_stored: list[str] = []
    unsure: list[str] = []
    for k in rows:
        header, row = scanned.headers[k], scanned.files[k].row
        if header is None or not split.sizes[row].all():
            continue
        height, width = split.sizes[row].tolist()
        applied = annotated_orientation(*header, (height, width))
        seen = turned_size(*header)
        if applied is None:
            wrong.append(f"{split.file_names[row]}: is {seen[1]}x{seen[0]}, but {width}x{height} is stated")
        elif applied != header.orientation:
            as_stored.append(f"{split.file_names[row]}: orientation {header.orientation}")
        elif header.orientation != 1 and seen == header.stored:
            unsure.append(f"{split.file_names[row]}: orientation {header.orientation}, {seen[1]}x{seen[0]}")
    yield from _listed(
        "wrong_sizes", "error", split.name, wrong,
        f"{counted(len(wrong), 'image has', 'images have')} another size than the annotations state (width x height)",
        "the boxes would be wrong: correct the sizes, or scale the boxes to the files",
    )  # fmt: skip
    yield from _listed(
        "annotated_as_stored", "warning", split.name, as_stored,
        f"{counted(len(as_stored), 'image is', 'images are')} rotated by EXIF, but annotated as stored",
        "they are read as annotated, but other programs rotate them: save the pixels again without the tag",
    )  # fmt: skip
    yield from _listed(
        "uncertain_orientation", "warning", split.name, unsure,
        f"{counted(len(unsure), 'image is', 'images are')} rotated by EXIF, and the stated size does not tell whether "
        "the annotations are",
        "they are read rotated: check some in --out inspect.html, and save the pixels again without the tag",
    )  # fmt: skip


def _listed(
    name: str, level: Level, split: str, examples: Sequence[str], sentence: str, advice: str
) -> Iterator[Problem]:
    if examples:
        yield Problem(name, level, split, len(examples), sentence, advice, examples[:MOST_EXAMPLES])


def _names_in(folder: Path) -> set[str]:
    if not folder.is_dir():
        return set()
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries if not entry.is_dir()}
