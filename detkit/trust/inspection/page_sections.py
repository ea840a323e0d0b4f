"""The page of an inspection: faults with images, duplicates, tables, distributions and examples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from detkit.data.faults.problem import LEVELS, Problem, counted
from detkit.data.faults.written_split import WrittenSplit
from detkit.reporting import Cell, Section, Series, StripImage, data_table, image_strip, line_chart, paragraph
from detkit.reporting.parts.data_table import Row
from detkit.trust.inspection.illustrations import center_map, duplicate_images, faulty_objects, sample_images
from detkit.trust.inspection.inspection import Inspection
from detkit.trust.inspection.tables import Table, aspects_of, objects_per_image, scales_of

_IMAGE_SIDE = 480
_MOST_EXAMPLES = 10
_IMAGES_OF_A_PROBLEM = 4
_PAIRS = 12
_SAMPLES = 6
_BINS = 40


def inspection_sections(inspection: Inspection) -> list[Section]:
    """The sections of the page, in their order."""
    sections = [_problems(inspection)]
    if inspection.pairs:
        sections.append(_duplicates(inspection))
    sections.append(Section("contents", "What is in the data", [table_part(one) for one in inspection.tables]))
    if charts := _distributions(inspection.splits):
        sections.append(Section("distributions", "Distributions", charts))
    if examples := _samples(inspection.splits):
        sections.append(Section("examples", "Examples", examples))
    return sections


def table_part(table: Table) -> Markup:
    """A table on the page."""
    rows = [[one if isinstance(one, str) else Cell.number(one) for one in row] for row in table.rows]
    return data_table(table.title, table.columns, rows)


def _problems(inspection: Inspection) -> Section:
    parts: list[Markup] = [paragraph(inspection.coverage)] if inspection.coverage else []
    problems = inspection.problems
    counts = {level: len(inspection.of_level(level)) for level in LEVELS}
    found = ", ".join(counted(count, level) for level, count in counts.items() if count)
    summary = f"{inspection.images} images: {found}." if found else f"{inspection.images} images: nothing is wrong."
    if not problems:
        return Section("problems", "Problems", [*parts, paragraph("Nothing is wrong.")], summary)
    columns = ["problem", "level", "split", "count", "what is wrong", "what to do"]
    rows: list[Row] = [
        [
            one.name.replace("_", " "),
            Cell(one.level, float(LEVELS.index(one.level))),
            one.split,
            Cell.number(one.count),
            one.sentence,
            one.advice,
        ]
        for one in problems
    ]
    parts.append(data_table("Errors stop a training, warnings harm it, notes are good to know", columns, rows))
    by_name = {split.name: split for split in inspection.splits}
    for problem in problems:
        parts += _details(problem, by_name.get(problem.split))
    return Section("problems", "Problems", parts, summary)


def _details(problem: Problem, split: WrittenSplit | None) -> list[Markup]:
    """The images of the first places of a problem or, where there are none, their names."""
    title = f"{problem.name.replace('_', ' ')}, {problem.split}: {problem.sentence}"
    groups = list(faulty_objects(split, problem, _IMAGES_OF_A_PROBLEM)) if split is not None else []
    if groups:
        return [image_strip(title, groups, _IMAGE_SIDE)]
    if not problem.examples:
        return []
    rows = [[example] for example in problem.examples[:_MOST_EXAMPLES]]
    return [data_table(title, [f"the first {len(rows)} of {problem.count}"], rows, sortable=False)]


def _duplicates(inspection: Inspection) -> Section:
    pairs = sorted(inspection.pairs, key=lambda pair: not pair.is_leak)
    names = [split.name for split in inspection.splits]
    rows = [
        [str(one.first.path), names[one.first.split], str(one.second.path), names[one.second.split],
         "equal" if one.is_exact else "nearly equal"]
        for one in pairs[:1000]
    ]  # fmt: skip
    shown = list(duplicate_images(pairs[:_PAIRS], inspection.splits))
    parts = [image_strip(f"The first {len(shown)} of {len(pairs)} pairs", shown, _IMAGE_SIDE)] if shown else []
    parts.append(data_table("Pairs of images", ["file", "split", "file", "split", "pixels"], rows))
    leaks = sum(pair.is_leak for pair in pairs)
    summary = f"{counted(leaks, 'pair of images leaks', 'pairs of images leak')} across splits." if leaks else ""
    return Section("duplicates", "Duplicates", parts, summary)


def _distributions(splits: Sequence[WrittenSplit]) -> list[Markup]:
    """Shares of objects and images by size, shape and number; and where boxes are."""
    with_objects = [split for split in splits if len(scales_of(split))]
    if not with_objects:
        return []
    scales, aspects = [scales_of(one) for one in with_objects], [np.log2(aspects_of(one)) for one in with_objects]
    counts = [objects_per_image(one).astype(np.float64) for one in with_objects]
    charts = [
        _histogram("Size of boxes", with_objects, scales, "square root of area, pixels"),
        _histogram("Shape of boxes", with_objects, aspects, "log2 of width by height"),
        _histogram("Objects of an image", with_objects, counts, "objects", whole=True),
    ]
    maps = [
        [StripImage(f"{split.name}: light where there are many", one)]
        for split in with_objects
        if (one := center_map(split)) is not None
    ]
    return [*charts, *([image_strip("Where the centers of boxes are", maps, _IMAGE_SIDE)] if maps else [])]


def _histogram(
    title: str, splits: Sequence[WrittenSplit], values: Sequence[np.ndarray], x_label: str, whole: bool = False
) -> Markup:
    """The share of the values in each of some bins, a line for each split; `whole` numbers have a bin each."""
    joined = np.concatenate([np.zeros(0), *values])
    low, high = (float(joined.min()), float(np.quantile(joined, 0.995))) if len(joined) else (0.0, 1.0)
    edges: np.ndarray = np.linspace(low, max(high, low + 1e-3), _BINS + 1)
    if whole:
        edges = np.arange(int(low), int(high) + 2) - 0.5
    centers = (edges[:-1] + edges[1:]) / 2
    series = [
        Series(split.name, centers, 100 * np.histogram(own, edges)[0] / max(len(own), 1))
        for split, own in zip(splits, values, strict=True)
    ]
    return line_chart(title, series, x_label, "% of them")


def _samples(splits: Sequence[WrittenSplit]) -> list[Markup]:
    strips = [(f"Images of {split.name}, as annotated", sample_images(split, _SAMPLES)) for split in splits]
    return [image_strip(title, groups, _IMAGE_SIDE) for title, groups in strips if groups]
