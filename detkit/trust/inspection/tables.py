"""What a data set holds, in tables: splits, classes, box sizes, image sizes, masks and keypoints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from detkit.data.faults.class_faults import image_frequencies, labels_of
from detkit.data.faults.keypoint_faults import annotated_keypoints
from detkit.data.faults.written_split import WrittenSplit

Value = str | int | float

SMALL, MEDIUM = 32.0**2, 96.0**2
"""Areas in pixels that end COCO's small and medium objects."""

_MOST_SIZES = 12


@dataclass(frozen=True)
class Table:
    """A table.

    Args:
        name: in lowercase letters and underscores.
        title: what it shows.
        columns: their headings; the first names the rows.
        rows: a value for each column.
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Value]]

    def entry(self) -> dict[str, Any]:
        """The table for a JSON file."""
        return {"title": self.title, "columns": list(self.columns), "rows": [list(row) for row in self.rows]}


def tables_of(splits: Sequence[WrittenSplit]) -> list[Table]:
    """All tables that there is something for."""
    make = (_splits, _classes, _box_sizes, _box_shapes, _image_sizes, _masks, _keypoints)
    made = [one(splits) for one in make]
    return [table for table in made if table is not None and table.rows]


def scales_of(split: WrittenSplit) -> np.ndarray:
    """float64 the square root of the area of each object's box in pixels, crowds left out."""
    scales: np.ndarray = np.sqrt(split.boxes[~split.iscrowd, 2:].clip(0).prod(axis=1))
    return scales


def aspects_of(split: WrittenSplit) -> np.ndarray:
    """float64 width by height of each object's box, crowds and boxes without area left out."""
    sides = split.boxes[~split.iscrowd, 2:]
    sides = sides[(sides > 0).all(axis=1)]
    aspects: np.ndarray = sides[:, 0] / sides[:, 1]
    return aspects


def objects_per_image(split: WrittenSplit) -> np.ndarray:
    """int64 ``(n,)`` the number of objects of each image, crowds left out."""
    return np.bincount(split.image_rows[~split.iscrowd], minlength=len(split))


def _splits(splits: Sequence[WrittenSplit]) -> Table:
    has_boxes = any(len(split.boxes) for split in splits)
    columns = ["split", "images"]
    with_classes = has_boxes or any(split.image_labels is not None for split in splits)
    columns += ["classes"] if with_classes else []
    if has_boxes:
        columns += ["objects", "crowds", "per image", "most", "images without"]
    rows = []
    for split in splits:
        row: list[Value] = [split.name, len(split)]
        row += [int(np.count_nonzero(image_frequencies(split)))] if with_classes else []
        if has_boxes:
            counts = objects_per_image(split)
            held = np.bincount(split.image_rows, minlength=len(split))
            row += [
                int(counts.sum()),
                int(split.iscrowd.sum()),
                round(float(counts.mean()), 2) if len(counts) else 0.0,
                int(counts.max(initial=0)),
                int(np.count_nonzero(held == 0)),
            ]
        rows.append(row)
    return Table("splits", "Splits", columns, rows)


def _classes(splits: Sequence[WrittenSplit]) -> Table:
    names = list(dict.fromkeys(name for split in splits for name in split.classes))
    counts = [_by_name(split, np.bincount(labels_of(split), minlength=len(split.classes))) for split in splits]
    shares = _by_name(splits[0], image_frequencies(splits[0]))
    total = max(sum(counts[0].values()), 1)
    unit = "objects" if splits[0].image_labels is None else "images"
    columns = ["class", *(f"{split.name} {unit}" for split in splits), f"% of {splits[0].name}"]
    with_images = splits[0].image_labels is None
    columns += [f"% of {splits[0].name} images"] if with_images else []
    rows: list[list[Value]] = []
    for name in names:
        row: list[Value] = [name, *(int(own.get(name, 0)) for own in counts)]
        row.append(round(100 * counts[0].get(name, 0) / total, 2))
        rows.append([*row, *([round(100 * float(shares.get(name, 0)), 2)] if with_images else [])])
    return Table("classes", "Classes", columns, rows)


def _by_name(split: WrittenSplit, values: np.ndarray) -> dict[str, Any]:
    return dict(zip(split.classes, values.tolist(), strict=False))


def _box_sizes(splits: Sequence[WrittenSplit]) -> Table:
    rows: list[list[Value]] = []
    for split in splits:
        scales = scales_of(split)
        if len(scales):
            areas = scales**2
            shares = [areas < SMALL, (areas >= SMALL) & (areas < MEDIUM), areas >= MEDIUM]
            quantiles = np.quantile(scales, [0, 0.05, 0.5, 0.95, 1]).round(1).tolist()
            rows.append([split.name, *(round(100 * float(one.mean()), 1) for one in shares), *quantiles])
    columns = ["split", "% small", "% medium", "% large", "least", "5 %", "median", "95 %", "most"]
    title = "Box sizes: COCO's small (below 32² pixels), medium (96²) and large; square roots of areas in pixels"
    return Table("box_sizes", title, columns, rows)


def _box_shapes(splits: Sequence[WrittenSplit]) -> Table:
    rows: list[list[Value]] = []
    for split in splits:
        if len(aspects := aspects_of(split)):
            rows.append([split.name, *np.quantile(aspects, [0, 0.05, 0.5, 0.95, 1]).round(2).tolist()])
    columns = ["split", "least", "5 %", "median", "95 %", "most"]
    return Table("box_shapes", "Box shapes: width by height", columns, rows)


def _image_sizes(splits: Sequence[WrittenSplit]) -> Table | None:
    counts: Counter[tuple[int, int]] = Counter()
    per_split = []
    for split in splits:
        known = split.sizes[split.sizes.all(axis=1)]
        own = Counter(map(tuple, known.tolist()))
        per_split.append(own)
        counts.update(own)
    most = counts.most_common(_MOST_SIZES)
    rows: list[list[Value]] = [
        [f"{size[1]}x{size[0]}", *(own[size] for own in per_split), round(size[1] / size[0], 2)] for size, _ in most
    ]
    title = "Image sizes, width x height in pixels"
    if len(counts) > len(most):
        title += f": the most frequent {len(most)} of {len(counts)}"
    return (
        Table("image_sizes", title, ["size", *(split.name for split in splits), "width/height"], rows) if rows else None
    )


def _masks(splits: Sequence[WrittenSplit]) -> Table | None:
    rows: list[list[Value]] = []
    for split in splits:
        polygons = [one for one in split.segmentations if isinstance(one, list)]
        encoded = sum(isinstance(one, dict) for one in split.segmentations)
        if polygons or encoded:
            corners = [sum(len(ring) // 2 for ring in one if isinstance(ring, (list, tuple))) for one in polygons]
            several = sum(len(one) > 1 for one in polygons)
            points = round(float(np.mean(corners)), 1) if corners else 0.0
            without = len(split.boxes) - len(polygons) - encoded
            rows.append([split.name, len(polygons), encoded, without, several, points])
    columns = ["split", "polygons", "run lengths", "without", "in several parts", "points of a polygon"]
    return Table("masks", "Masks", columns, rows) if rows else None


def _keypoints(splits: Sequence[WrittenSplit]) -> Table | None:
    found = [(split, annotated_keypoints(split)[1]) for split in splits if any(split.keypoints)]
    found = [(split, points) for split, points in found if points.size]
    if not found:
        return None
    names = found[0][0].keypoint_names or [f"keypoint {number}" for number in range(found[0][1].shape[1])]
    columns = ["keypoint"]
    columns += [f"{split.name} {what}" for split, _ in found for what in ("visible", "hidden", "not labeled")]
    rows: list[list[Value]] = []
    for number, name in enumerate(names):
        row: list[Value] = [name]
        for _, points in found:
            own = points[:, number, 2] if number < points.shape[1] else np.zeros(0)
            row += [int((own >= 2).sum()), int((own == 1).sum()), int((own == 0).sum())]
        rows.append(row)
    return Table("keypoints", "Keypoints, by their visibility", columns, rows)
