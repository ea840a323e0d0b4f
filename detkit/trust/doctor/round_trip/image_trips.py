"""The oracle round trip: ground truth through encoding, decoding and suppression, and which objects do not come back.

N  objects of an image
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from detkit.heads import RPN, Context, Postprocess, TopK
from detkit.heads.postprocessed_head import PostprocessedHead
from detkit.models import VisionModel
from detkit.structures import Target
from detkit.tasks import Task
from detkit.tasks.recovered_objects import Recovered
from detkit.trust.doctor.round_trip.ideal_network import IdealNetwork

FOUND = 0.5  # the least IoU of a detection that stands for an object
_MANY = 20_000  # in place of a limit
_SAME = 0.9  # an IoU of boxes that different candidates give for one object
_LEAST_SCORE = 1e-4  # between those of background and of objects

RESIZING, DECODING = "resizing", "decoding"
THRESHOLD, CANDIDATES, SUPPRESSION, LIMIT = "score threshold", "candidates", "suppression", "detections"


@dataclass(frozen=True, eq=False)
class ImageTrip:
    """How the entries of the truth of an image came through: its objects, or what else the task names.

    Args:
        target: of the image as given.
        truth: the perfect answer, N entries.
        answer: what came back.
        recovered: how each entry of the truth came back.
        lost: of each, the stage that lost it; None where it came back.
        sides: ``(N, 2)`` width and height of the objects in the network's frame; None where the entries are no objects.
        padded_size: (height, width) of the network's frame.
        given_size: (height, width) of the image as given.
    """

    target: Target
    truth: Any
    answer: Any
    recovered: Recovered
    lost: list[str | None]
    sides: Tensor | None
    padded_size: tuple[int, int]
    given_size: tuple[int, int]


def round_trip(
    network: IdealNetwork | None, task: Task, images: Sequence[Tensor], targets: Sequence[Target]
) -> list[ImageTrip]:
    """Take a batch through the model; images that are not annotated are left out.

    Args:
        network: the model with its network replaced; None: without a model, the truth itself comes back.
        task: of the model.
        images: as of `VisionModel.forward`.
        targets: as of `VisionModel.forward`.
    """
    truths = [task.truth(target) for target in targets]
    if network is None:
        recovered = [_recovered(task, target, truth, truth) for target, truth in zip(targets, truths, strict=True)]
        given = [(image.shape[-2], image.shape[-1]) for image in images]
        return [
            ImageTrip(target, truth, truth, its, [None] * len(its), None, size, size)
            for target, truth, its, size in zip(targets, truths, recovered, given, strict=True)
            if truth is not None
        ]
    raw, context = network.prepare(images, targets)
    answers = network.decode(raw, context)
    recovered = [_recovered(task, *pair) for pair in zip(targets, truths, answers, strict=True)]
    lost, sides = _lost(network, task, raw, context, targets, truths, recovered)
    return [
        ImageTrip(
            target,
            truths[image],
            answers[image],
            recovered[image],
            lost[image],
            sides[image],
            context.batch.padded_size,
            context.batch.given_sizes[image],
        )
        for image, target in enumerate(targets)
        if truths[image] is not None
    ]


def _lost(
    network: IdealNetwork,
    task: Task,
    raw: Any,
    context: Context,
    targets: Sequence[Target],
    truths: Sequence[Any],
    recovered: Sequence[Recovered],
) -> tuple[list[list[str | None]], Sequence[Tensor | None]]:
    """For each entry of each image the stage that loses it, and the sides of objects."""
    found = [(one.overlaps >= FOUND).tolist() for one in recovered]
    lost: list[list[str | None]] = [[None if is_found else DECODING for is_found in of_image] for of_image in found]
    if not task.answers_objects:
        return lost, [None] * len(lost)
    counts = [len(one) for one in recovered]
    if not all(all(of_image) for of_image in found):
        assigned = _stages_without(network, counts)
        later = _stages_of_decoding(network, task, raw, context, targets, truths)
        for image, stages in enumerate(lost):
            lost[image] = [
                stage and (assigned[image][row] or later[image][row] or stage) for row, stage in enumerate(stages)
            ]
    sides = _sides(network, counts)
    tiny = [(own < 1).any(dim=1).tolist() for own in sides]
    of_images = zip(tiny, lost, strict=True)
    return [[RESIZING if is_tiny else stage for is_tiny, stage in zip(*pair, strict=True)] for pair in of_images], sides


def _recovered(task: Task, target: Target, truth: Any, answer: Any) -> Recovered:
    if truth is None:
        return Recovered(torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    return task.recovered(target, answer)


def _stages_without(network: IdealNetwork, counts: Sequence[int]) -> list[list[str | None]]:
    """For each object of each image, the first head that has no candidate for it."""
    assert network.truth is not None
    stages: list[str | None] = [None] * sum(counts)
    for name, rows in network.assigned.items():
        present = set(rows[rows >= 0].tolist())
        what = f"{name}: proposals" if name in network.regions else f"{name}: assignment"
        stages = [stage or (None if row in present else what) for row, stage in enumerate(stages)]
    return _split(stages, counts)


def _sides(network: IdealNetwork, counts: Sequence[int]) -> list[Tensor]:
    """Widths and heights of the objects in the network's frame."""
    assert network.truth is not None
    boxes = network.truth.objects.boxes.cpu()
    return list(torch.split(boxes[:, 2:] - boxes[:, :2], list(counts)))


def _split(values: list[Any], counts: Sequence[int]) -> list[list[Any]]:
    parts, rest = [], list(values)
    for count in counts:
        parts.append(rest[:count])
        rest = rest[count:]
    return parts


def _stages_of_decoding(
    network: IdealNetwork,
    task: Task,
    raw: Any,
    context: Context,
    targets: Sequence[Target],
    truths: Sequence[Any],
) -> list[list[str | None]]:
    """For each object, the first step of decoding after which it is missing, each tried with the later ones off."""
    stages: list[list[str | None]] = [[None] * (0 if truth is None else len(truth)) for truth in truths]
    for stage in (DECODING, THRESHOLD, CANDIDATES, SUPPRESSION, LIMIT):
        with _decoding(network.model, partial(_part, stage=stage)):
            answers = network.decode(raw, context)
        for image, (target, truth, answer) in enumerate(zip(targets, truths, answers, strict=True)):
            found = (_recovered(task, target, truth, answer).overlaps >= FOUND).tolist()
            stages[image] = [
                before or (None if is_found else stage) for before, is_found in zip(stages[image], found, strict=True)
            ]
    return stages


@contextmanager
def as_in_training(model: VisionModel) -> Iterator[None]:
    """Decode without what only predictions lose: of one object's candidates one is kept, and of objects all."""
    with _decoding(model, _lenient):
        yield


def _lenient(postprocess: Postprocess) -> Postprocess:
    part = copy(postprocess)
    part.score_threshold, part.candidates, part.detections = _LEAST_SCORE, _MANY, _MANY
    if part.iou_threshold is not None:
        part.iou_threshold = max(part.iou_threshold, _SAME)
    return part


@contextmanager
def _decoding(model: VisionModel, changed: Callable[[Postprocess], Postprocess]) -> Iterator[None]:
    """Decode with other steps after the heads."""
    heads = [part for part in model.modules() if isinstance(part, PostprocessedHead) and not isinstance(part, RPN)]
    own = [(head, head.postprocess) for head in heads]
    try:
        for head, postprocess in own:
            head.postprocess = changed(postprocess)
        yield
    finally:
        for head, postprocess in own:
            vars(head)["postprocess"] = postprocess


def _part(postprocess: Postprocess, stage: str) -> Postprocess:
    if stage == LIMIT:
        return postprocess
    if stage == SUPPRESSION:
        part = copy(postprocess)
        part.detections = _MANY
        return part
    threshold = _LEAST_SCORE if stage == DECODING else postprocess.score_threshold
    candidates = postprocess.candidates if stage == CANDIDATES else _MANY
    return TopK(threshold if threshold is not None else _LEAST_SCORE, candidates or _MANY, _MANY)
