"""An inspection of a data set: tables of what is in it, and its faults."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from detkit.data.faults.box_faults import box_problems
from detkit.data.faults.class_faults import class_problems
from detkit.data.faults.keypoint_faults import keypoint_problems
from detkit.data.faults.mask_faults import mask_problems
from detkit.data.faults.problem import LEVELS, Problem
from detkit.data.faults.shape_faults import shape_problems
from detkit.data.faults.written_split import WrittenSplit
from detkit.data.splits import Splits
from detkit.data.spread import evenly_spread
from detkit.images.orientation import turned_size
from detkit.trust.inspection.duplicates import Pair, duplicate_pairs, duplicate_problems, shared_files
from detkit.trust.inspection.folder_reading import read_folder
from detkit.trust.inspection.image_problems import file_problems, image_files, listing_problems, present_files
from detkit.trust.inspection.image_scan import ScannedImages, scan_images
from detkit.trust.inspection.map_scan import map_problems, map_table, scan_maps
from detkit.trust.inspection.tables import Table, tables_of


@dataclass(frozen=True, eq=False)
class Inspection:
    """What was found in a data set.

    Args:
        source: the folder, for messages.
        format: of the data.
        splits: the annotations as written, with the sizes of files where none are stated.
        tables: what is in it.
        problems: what is wrong with it, the worst first.
        pairs: images that are there several times.
        images: the number of its image files.
        scanned: how many of them were decoded.
    """

    source: str
    format: str
    splits: Sequence[WrittenSplit]
    tables: Sequence[Table]
    problems: Sequence[Problem]
    pairs: Sequence[Pair] = field(default_factory=list)
    images: int = 0
    scanned: int = 0

    @property
    def coverage(self) -> str:
        """How many image files were looked at, in a sentence; empty where it was all of them."""
        if any(split.images_path is None for split in self.splits):
            return "the files of the images are not known, as of a data set class of your own: no image was looked at"
        if self.scanned == self.images:
            return ""
        return (
            f"{self.scanned} of {self.images} image files were decoded, spread evenly: broken files, wrong sizes and "
            "duplicates among the others are not seen"
        )

    def of_level(self, level: str) -> list[Problem]:
        """The problems of a level."""
        return [problem for problem in self.problems if problem.level == level]

    def entry(self) -> dict[str, Any]:
        """The inspection for a JSON file."""
        return {
            "source": self.source,
            "format": self.format,
            "images": self.images,
            "decoded": self.scanned,
            "problems": [problem.entry() for problem in self.problems],
            "tables": {table.name: table.entry() for table in self.tables},
            "duplicates": [
                {"first": str(pair.first.path), "second": str(pair.second.path), "exact": pair.is_exact,
                 "splits": [self.splits[pair.first.split].name, self.splits[pair.second.split].name]}
                for pair in self.pairs
            ],
        }  # fmt: skip


def inspect_data(
    described: Splits, most_images: int | None = None, progress: Callable[[int, int], None] = lambda done, total: None
) -> Inspection:
    """Read all splits of a data set with their faults, and look at its images.

    Args:
        described: where the data is, `detkit.data.DataModule.splits`.
        most_images: the most image files that are decoded, spread evenly over all; None: all.
        progress: told how many files are decoded, and how many there are to decode.

    Raises:
        InputError: there is no data.
    """
    with TemporaryDirectory() as extracted:
        read = read_folder(described, Path(extracted))
        paths = image_files(read.splits)
        present = present_files(paths)
        chosen = [present[row] for row in evenly_spread(len(present), most_images)]
        scanned = scan_images(chosen, lambda done: progress(done, len(chosen)))
        splits = [_with_sizes(split, number, scanned) for number, split in enumerate(read.splits)]
        maps = scan_maps(described, read, most_images)
        pairs = [*shared_files(scanned), *duplicate_pairs(scanned)]
        problems = [
            *read.problems,
            *listing_problems(splits, paths, present, read.is_whole),
            *file_problems(splits, scanned),
            *(problem for split in splits for problem in annotation_problems(split)),
            *class_problems(splits, read.is_whole),
            *map_problems(maps),
            *duplicate_problems(splits, pairs),
        ]
    problems.sort(key=lambda problem: LEVELS.index(problem.level))
    source = str(described.root) if described.root else splits[0].source
    tables = tables_of(splits)
    if maps:
        has_objects = any(len(split.labels) for split in splits)
        tables = [table for table in tables if table.name != "classes" or has_objects]
        tables.insert(1, map_table(maps))
    return Inspection(source, read.format, splits, tables, problems, pairs, len(present), len(chosen))


def annotation_problems(split: WrittenSplit) -> list[Problem]:
    """The faults of the annotations of one split."""
    return [*box_problems(split), *mask_problems(split), *keypoint_problems(split), *shape_problems(split)]


def _with_sizes(split: WrittenSplit, number: int, scanned: ScannedImages) -> WrittenSplit:
    sizes = np.zeros((len(split), 2), dtype=np.int64)
    for file, header in zip(scanned.files, scanned.headers, strict=True):
        if file.split == number and header is not None:
            sizes[file.row] = turned_size(*header)
    return split.with_sizes(sizes)
