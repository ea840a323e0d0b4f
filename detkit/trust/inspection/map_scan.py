"""Read the label maps of a folder of maps: the pixels of each class, and maps that are wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

import numpy as np

from detkit.data.faults.problem import MOST_EXAMPLES, Problem, counted
from detkit.data.faults.suspicious_maps import MapPixels, useless_maps
from detkit.data.splits import Splits
from detkit.errors import InputError
from detkit.files.annotation_formats import MapFormat
from detkit.trust.inspection.folder_reading import SPLITS, ReadFolder
from detkit.trust.inspection.tables import Table, Value

MOST_MAPS = 500
"""So many are read of each split, spread evenly."""


def scan_maps(described: Splits, read: ReadFolder, most: int | None) -> dict[str, MapPixels]:
    """The label maps of each split; none where the format of the data is no format of label maps.

    Args:
        described: where the data is.
        read: its splits.
        most: the most maps of a split that are read; None: `MOST_MAPS`.
    """
    scanned: dict[str, MapPixels] = {}
    if read.format not in get_args(MapFormat):
        return scanned
    present = {split.name for split in read.splits}
    for split in (one for one in SPLITS if one in present):
        try:
            dataset = described.open(split, {}).reading({"label_map"})
        except InputError:  # maps of another kind
            continue
        scanned[split] = MapPixels.of(dataset, min(most or MOST_MAPS, MOST_MAPS), raises=False)
    return scanned


def map_problems(scanned: Mapping[str, MapPixels]) -> list[Problem]:
    """Maps that cannot be read, and maps that look wrong."""
    problems = []
    for split, pixels in scanned.items():
        if pixels.faults:
            number = len(pixels.faults)
            problems.append(
                Problem(
                    "wrong_maps",
                    "error",
                    split,
                    number,
                    f"{counted(number, 'label map')} cannot be read as {'it is' if number == 1 else 'they are'}",
                    "correct them; a training stops at the first",
                    pixels.faults[:MOST_EXAMPLES],
                )
            )
        problems += [
            Problem("useless_maps", "warning", split, len(pixels.counts), sign.what, sign.advice)
            for sign in useless_maps(pixels)
        ]
    return problems


def map_table(scanned: Mapping[str, MapPixels]) -> Table:
    """The share of the pixels of each class in percent, and the maps that hold it."""
    names = list(dict.fromkeys(name for pixels in scanned.values() for name in pixels.names))
    columns = ["class"]
    cells: dict[str, list[Value]] = {name: [name] for name in [*names, "(no class)"]}
    for split, pixels in scanned.items():
        columns += [f"% of {split} pixels", f"{split} maps"]
        own = [*pixels.names, "(no class)"]
        shares = 100 * pixels.counts.sum(axis=0) / max(int(pixels.counts.sum()), 1)
        held = np.count_nonzero(pixels.counts, axis=0)
        for name, row in cells.items():
            label = own.index(name) if name in own else None
            row += [0.0, 0] if label is None else [round(float(shares[label]), 2), int(held[label])]
    read = ", ".join(f"{len(pixels.counts)} of {split}" for split, pixels in scanned.items())
    return Table("label_maps", f"Classes of the pixels of label maps: {read}", columns, list(cells.values()))
