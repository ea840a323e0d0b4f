"""The sizes of objects on the levels of a recipe's network, after its resizing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from detkit.data.faults.problem import MOST_EXAMPLES, Level, Problem, counted
from detkit.heads import RPN, DenseHead
from detkit.models import VisionModel
from detkit.structures import Target
from detkit.trust.doctor.anchor_check import anchor_boxes, check_anchors
from detkit.trust.doctor.round_trip.ideal_network import IdealNetwork, WithoutIdeal, heads_of, ideal_network
from detkit.trust.doctor.subject import Subject
from detkit.trust.inspection.tables import Table

MOST_IMAGES = 50


@dataclass(frozen=True, eq=False)
class NetworkObjects:
    """m objects of training images as the network sees them.

    Args:
        sides: float64 ``(m, 2)`` width and height in pixels of its input.
        levels: int64 ``(m,)`` the level of most of the candidates that are to predict each; -1: there is none.
        names: of each, its image and position.
        strides: of the levels.
        largest_anchor: square root of the area of the largest anchor in pixels; None: there are no anchors.
    """

    sides: np.ndarray
    levels: np.ndarray
    names: Sequence[str]
    strides: Sequence[int]
    largest_anchor: float | None

    @property
    def scales(self) -> np.ndarray:
        """float64 ``(m,)`` square roots of areas."""
        scales: np.ndarray = np.sqrt(self.sides.prod(axis=1))
        return scales


def recipe_findings(subject: Subject) -> tuple[list[Table], list[Problem]]:
    """The table of levels, and the problems of objects with the recipe's levels and anchors.

    Both are empty for a model that does not predict on levels.
    """
    objects = network_objects(subject)
    if objects is None or not len(objects.levels):
        return [], []
    return [_table(objects)], [*_small(objects), *_unpredicted(objects), *_anchors(subject, objects)]


def network_objects(subject: Subject) -> NetworkObjects | None:
    """The objects of some training images; None where the model has no dense head or RPN on levels."""
    try:
        found = heads_of(subject.model)
    except WithoutIdeal:  # of a head of one's own
        return None
    heads = {name: head for name, head in found.items() if isinstance(head, (DenseHead, RPN))}
    if len(heads) != 1:
        return None
    ((name, head),) = heads.items()
    sides, levels, names = [np.zeros((0, 2))], [np.zeros(0, np.int64)], list[str]()
    strides: list[int] = []
    largest = None
    with ideal_network(subject.model.eval()) as network:
        for index in subject.some(subject.data.train_dataset, min(subject.images, MOST_IMAGES)):
            image, target = subject.sample(subject.data.train_dataset, index)
            if not strides:
                largest = _largest_anchor(network, head, image)
            _, context = network.prepare([image], [target])
            maps = network.model.features(context.batch)
            counts = _candidates_of_levels(head, maps, len(network.assigned[name]))
            if counts is None or network.truth is None:
                return None
            strides = _strides(subject.model, maps, context.batch.images)
            boxes = network.truth.objects.boxes.double().cpu().numpy()
            sides.append(boxes[:, 2:] - boxes[:, :2])
            levels.append(_levels(network.assigned[name].cpu(), counts, len(boxes)))
            names += [f"image {target.image_id!r}, object {row}" for row in range(len(boxes))]
    return NetworkObjects(np.concatenate(sides), np.concatenate(levels), names, strides, largest)


def _strides(model: VisionModel, maps: Sequence[Tensor], images: Tensor) -> list[int]:
    """The strides that neck or backbone state, else those of the sizes of the maps."""
    stated = [getattr(getattr(model, part, None), "strides", None) for part in ("neck", "backbone")]
    measured = [round(images.shape[-2] / one.shape[-2]) for one in maps]
    return next((list(one) for one in stated if one is not None and len(one) == len(maps)), measured)


def _largest_anchor(network: IdealNetwork, head: DenseHead | RPN, image: Tensor) -> float | None:
    """The square root of the area of the largest box that is predicted where there is nothing."""
    raw, _ = network.prepare([image], [Target.empty()])
    if network.truth is None:
        return None
    boxes = anchor_boxes(head, raw, network.truth)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    return float(areas.max()) ** 0.5 if len(areas) else None


def _candidates_of_levels(head: DenseHead | RPN, maps: Sequence[Tensor], total: int) -> list[int] | None:
    """How many candidates each level has; None where they are not as many for each cell."""
    cells = [one.shape[-2] * one.shape[-1] for one in maps]
    counts = getattr(head, "per_location", None)
    if counts is not None:
        return [count * each for count, each in zip(cells, counts, strict=True)]
    per_cell, rest = divmod(total, sum(cells))
    return None if rest or not per_cell else [per_cell * count for count in cells]


def _levels(assigned: Tensor, counts: Sequence[int], objects: int) -> np.ndarray:
    """int64 ``(objects,)`` the level with most of the candidates of each object; -1 where it has none."""
    level = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    is_own = assigned >= 0
    votes = torch.zeros(objects, len(counts), dtype=torch.int64)
    votes.index_put_((assigned[is_own], level[is_own]), torch.ones(1, dtype=torch.int64), accumulate=True)
    found: np.ndarray = torch.where(votes.any(dim=1), votes.argmax(dim=1), -1).numpy()
    return found


def _table(objects: NetworkObjects) -> Table:
    rows: list[list[str | int | float]] = []
    for level, stride in [*enumerate(objects.strides), (-1, 0)]:
        scales = objects.scales[objects.levels == level]
        spread = np.quantile(scales, [0, 0.5, 1]).round(1).tolist() if len(scales) else ["", "", ""]
        share = round(100 * len(scales) / len(objects.levels), 1)
        if level >= 0 or len(scales):
            rows.append([f"stride {stride}" if level >= 0 else "none", len(scales), share, *spread])
    title = (
        f"Objects on the levels of the network, after its resizing: {len(objects.levels)} objects, sizes in its pixels"
    )
    return Table("levels", title, ["level", "objects", "%", "least size", "median", "most"], rows)


def _small(objects: NetworkObjects) -> Iterator[Problem]:
    under_pixel = np.flatnonzero((objects.sides < 1).any(axis=1))
    yield from _at(
        objects, under_pixel, "objects_under_a_pixel", "warning",
        f"{counted(len(under_pixel), 'object is', 'objects are')} less than a pixel wide or high after the resizing",
        "enlarge the images in model.preprocess, or train on parts of them",
    )  # fmt: skip
    finest = min(objects.strides)
    under_cell = np.flatnonzero(objects.scales < finest)
    yield from _at(
        objects, under_cell, "objects_under_a_cell", "note",
        f"{counted(len(under_cell), 'object is', 'objects are')} smaller than a cell of the finest level, of "
        f"{finest} pixels",
        "enlarge the images in model.preprocess, or add a finer level of the backbone",
    )  # fmt: skip


def _unpredicted(objects: NetworkObjects) -> Iterator[Problem]:
    rows = np.flatnonzero(objects.levels < 0)
    yield from _at(
        objects, rows, "objects_without_candidate", "warning",
        f"{counted(len(rows), 'object has', 'objects have')} no anchor or cell that is to predict it",
        "it cannot be learned: `detkit doctor` says why for each",
    )  # fmt: skip


def _anchors(subject: Subject, objects: NetworkObjects) -> Iterator[Problem]:
    if objects.largest_anchor is not None:
        rows = np.flatnonzero(objects.scales > 1.5 * objects.largest_anchor)
        yield from _at(
            objects, rows, "objects_over_anchors", "warning",
            f"{counted(len(rows), 'object is', 'objects are')} over one and a half times as large as the largest "
            f"anchor, of {objects.largest_anchor:.0f} pixels",
            "fit the anchors with `detkit anchors`, or reduce the images in model.preprocess",
        )  # fmt: skip
    finding = check_anchors(subject)
    if finding.verdict in ("warning", "failed"):
        poor = round((1 - float(finding.numbers["share"])) * int(finding.numbers["objects"]))
        yield Problem("anchor_shapes", "warning", "train", poor, finding.sentence, "; ".join(finding.notes))


def _at(
    objects: NetworkObjects, rows: np.ndarray, name: str, level: Level, sentence: str, advice: str
) -> Iterator[Problem]:
    if len(rows):
        examples = [
            f"{objects.names[row]}: {objects.sides[row, 0]:.1f}x{objects.sides[row, 1]:.1f} pixels of the network"
            for row in rows[:MOST_EXAMPLES].tolist()
        ]
        share = f"{sentence} ({100 * len(rows) / len(objects.levels):.1f} % of {len(objects.levels)} in the sample)"
        yield Problem(name, level, "train", len(rows), share, advice, examples)
