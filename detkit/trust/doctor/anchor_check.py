"""The check of anchors: whether there is one of about the shape of each object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from detkit.anchors import shape_iou
from detkit.heads import RPN, Context, DenseHead
from detkit.structures import Target
from detkit.trust.doctor.findings import Finding
from detkit.trust.doctor.round_trip.ideal_network import heads_of, ideal_network
from detkit.trust.doctor.subject import Subject

FIT = 0.5  # the IoU of shapes from which on an anchor fits an object
GOOD, POOR = 0.8, 0.5  # shares of objects with such an anchor
MOST_IMAGES = 200


def check_anchors(subject: Subject) -> Finding:
    """The boxes that a head predicts without any evidence, its anchors, have the shapes of the objects."""
    heads = {name: head for name, head in heads_of(subject.model).items() if isinstance(head, (DenseHead, RPN))}
    dataset = subject.data.train_dataset
    best: list[Tensor] = []
    where: list[tuple[object, int, list[float]]] = []
    for index in subject.some(dataset, min(subject.images, MOST_IMAGES)) if heads else []:
        image, target = dataset[index]
        ious = _best_shapes(subject, heads, image, target)
        if ious is not None:
            best.append(ious)
            where += [(target.image_id, row, box) for row, box in enumerate(_boxes(target))]
    ious = torch.cat(best) if best else torch.zeros(0)
    if not len(ious):
        return Finding("anchors", "skipped", "the model has no anchors")
    share = float((ious >= FIT).float().mean())
    numbers = {"mean_iou": float(ious.mean()), "share": share, "objects": len(ious)}
    sentence = (
        f"{share:.1%} of {len(ious)} objects have an anchor of their shape (IoU {FIT} or more), mean IoU "
        f"{ious.mean():.2f}"
    )
    if share >= GOOD:
        return Finding("anchors", "passed", sentence, numbers=numbers)
    worst = ious.argsort()[:3].tolist()
    examples = "; ".join(
        f"image {where[row][0]!r} object {where[row][1]}, {_shape(where[row][2])} pixels, IoU {ious[row]:.2f}"
        for row in worst
    )
    note = f"fit the anchors with `detkit anchors`, or resize the images in model.preprocess. The worst are: {examples}"
    return Finding("anchors", "failed" if share < POOR else "warning", sentence, [note], numbers)


def _boxes(target: Target) -> list[list[float]]:
    boxes = target.objects().boxes
    return [] if boxes is None else boxes.tolist()


def _shape(box: list[float]) -> str:
    return f"{box[2] - box[0]:.0f}x{box[3] - box[1]:.0f}"


def _best_shapes(
    subject: Subject, heads: Mapping[str, DenseHead | RPN], image: Tensor, target: Target
) -> Tensor | None:
    """For each object of an image the greatest IoU of its shape with an anchor; None where there are no anchors."""
    empty = Target.empty(image_id=target.image_id)
    with ideal_network(subject.model.eval()) as network:
        raw, context = network.prepare([image], [empty])
        moved = subject.model.preprocess.targets([target.objects()], context.batch)[0].boxes
        shapes = [_anchors(head, raw, network.truth) for head in heads.values()]
    anchors = torch.cat(shapes).cpu()
    if moved is None or not len(anchors):
        return None
    sides = (moved[:, 2:] - moved[:, :2]).cpu()
    return shape_iou(sides, anchors).amax(dim=1) if len(sides) else sides.new_zeros(0)


def _anchors(head: DenseHead | RPN, raw: Any, context: Context | None) -> Tensor:
    """The different widths and heights ``(A, 2)`` of the boxes that a head gives where there is nothing."""
    own = raw[1] if isinstance(head, RPN) else raw  # of a two-stage detector
    assert context is not None
    boxes = head.candidates(own, context).boxes
    sides = (boxes[:, 2:] - boxes[:, :2]).float()
    return torch.unique(sides[(sides > 1e-3).all(dim=1)].round(decimals=2), dim=0)
