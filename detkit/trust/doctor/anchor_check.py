"""The check of anchors: whether there is one of about the shape of each object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from detkit.anchors import shape_iou
from detkit.heads import RPN, Context, DenseHead
from detkit.ops import box_iou
from detkit.structures import Target
from detkit.trust.doctor.findings import Finding, Verdict
from detkit.trust.doctor.round_trip.ideal_network import (
    IdealNetwork,
    WithoutIdeal,
    heads_of,
    ideal_network,
    overrides,
)
from detkit.trust.doctor.subject import Subject

FIT = 0.5  # the IoU of shapes from which on an anchor fits an object
GOOD, POOR = 0.8, 0.5  # shares of objects with such an anchor
NEAR, MANY = 0.2, 0.1  # an IoU in place, and the share of objects that may have less with every anchor
OTHER_SIZE = 1.5  # the factor from which on sizes of anchors and objects are told
MOST_IMAGES = 200


def check_anchors(subject: Subject) -> Finding:
    """The boxes that a head predicts without any evidence, its anchors, have shapes and places of the objects."""
    try:
        heads = {name: head for name, head in heads_of(subject.model).items() if _has_anchors(head)}
    except WithoutIdeal as error:
        return Finding("anchors", "skipped", str(error))
    dataset = subject.data.train_dataset
    parts: list[Tensor] = []
    where: list[tuple[object, int, list[float]]] = []
    with ideal_network(subject.model.eval()) as network:  # one for all images: it knows the maps of each size
        for index in subject.some(dataset, min(subject.images, MOST_IMAGES)) if heads else []:
            image, target = dataset[index]
            best = _best(network, heads, image, target)
            if best is not None:
                parts.append(best)
                where += [(target.image_id, row, box) for row, box in enumerate(_boxes(target))]
    shapes, places, sizes = (torch.cat(parts) if parts else torch.zeros(0, 3)).unbind(dim=1)
    if not len(shapes):
        return Finding("anchors", "skipped", "the model has no anchors")
    share = float((shapes >= FIT).float().mean())
    far = float(((places < NEAR) & (shapes >= NEAR)).float().mean())  # no place is near for another shape
    size = float(sizes.median())
    numbers = {"mean_iou": float(shapes.mean()), "share": share, "far": far, "size": size, "objects": len(shapes)}
    sentence = (
        f"{share:.1%} of {len(shapes)} objects have an anchor of their shape (IoU {FIT} or more), mean IoU "
        f"{shapes.mean():.2f}"
    )
    notes = []
    if share < GOOD:
        notes.append(
            f"{_other_size(size)}fit the anchors with `detkit anchors`, or resize the images in model.preprocess. The "
            f"worst are: {_examples(shapes, where)}"
        )
    if far > MANY:
        notes.append(
            f"{far:.1%} of the objects overlap no anchor by an IoU of {NEAR} where it stands: the cells are too coarse "
            "for them; add a finer level, or enlarge the images in model.preprocess. The worst are: "
            + _examples(places, where)
        )
    verdict: Verdict = "failed" if share < POOR else "warning" if notes else "passed"
    return Finding("anchors", verdict, sentence, notes, numbers)


def _other_size(size: float) -> str:
    """What is wrong with most anchors, where it is their size, of which the median is `size` times the object's."""
    if 1 / OTHER_SIZE < size < OTHER_SIZE:
        return ""
    how = f"{size:.1f} times as large as" if size > 1 else f"{1 / size:.1f} times smaller than"
    return f"the nearest anchors are {how} the objects in the network's frame (median of their sides): "


def _has_anchors(head: nn.Module) -> TypeGuard[DenseHead | RPN]:
    return isinstance(head, (DenseHead, RPN)) and overrides(head, "candidates")


def _examples(ious: Tensor, where: Sequence[tuple[object, int, list[float]]]) -> str:
    return "; ".join(
        f"image {where[row][0]!r} object {where[row][1]}, {_shape(where[row][2])} pixels, IoU {ious[row]:.2f}"
        for row in ious.argsort()[:3].tolist()
    )


def _boxes(target: Target) -> list[list[float]]:
    boxes = target.objects().boxes
    return [] if boxes is None else boxes.tolist()


def _shape(box: list[float]) -> str:
    return f"{box[2] - box[0]:.0f}x{box[3] - box[1]:.0f}"


def _best(network: IdealNetwork, heads: Mapping[str, DenseHead | RPN], image: Tensor, target: Target) -> Tensor | None:
    """For each object of an image ``(N, 3)``: its greatest IoU with an anchor, of shapes and in place, and how many
    times its size the anchor of the nearest shape is.

    None where the model has no anchors.
    """
    empty = Target.empty(image_id=target.image_id)
    raw, context = network.prepare([image], [empty])
    moved = network.model.preprocess.targets([target.objects()], context.batch)[0].boxes
    anchors = torch.cat([anchor_boxes(head, raw, network.truth) for head in heads.values()]).cpu()
    if moved is None or not len(anchors):
        return None
    boxes = moved.cpu()
    shapes = torch.unique((anchors[:, 2:] - anchors[:, :2]).round(decimals=2), dim=0)
    sides = boxes[:, 2:] - boxes[:, :2]
    best, nearest = shape_iou(sides, shapes).max(dim=1)
    sizes = (shapes[nearest].prod(dim=1) / sides.prod(dim=1).clamp(min=1e-6)).sqrt()
    return torch.stack((best, box_iou(boxes, anchors).amax(dim=1), sizes), dim=1)


def anchor_boxes(head: DenseHead | RPN, raw: Any, context: Context | None) -> Tensor:
    """The boxes ``(A, 4)`` that a head gives where there is nothing; those without an area are no anchors."""
    own = raw[1] if isinstance(head, RPN) else raw  # of a two-stage detector
    assert context is not None
    boxes = head.candidates(own, context).boxes.float()
    return boxes[(boxes[:, 2:] - boxes[:, :2] > 1e-3).all(dim=1)]
