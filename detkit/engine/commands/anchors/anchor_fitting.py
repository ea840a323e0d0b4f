"""Fit the anchors of a model's head to the shapes of boxes, by k-means with the IoU of shapes (YOLOv2, section 2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from detkit.anchors import AnchorGenerator, DefaultBoxes, kmeans_anchors
from detkit.errors import InputError
from detkit.heads import RPN, RetinaNetHead, SSDHead, YOLOHead
from detkit.models import VisionModel


class Fitted(NamedTuple):
    """Anchors before and after.

    Args:
        part: the argument of the model that has the anchors, ``rpn`` or ``head``.
        class_name: the class of that part.
        settings: its arguments that set the fitted anchors.
        before: width and height ``(A, 2)`` of the model's anchors, in pixels of its input.
        after: those of the fitted anchors.
    """

    part: str
    class_name: str
    settings: dict[str, Any]
    before: Tensor
    after: Tensor


Shapes = tuple[dict[str, Any], Tensor, Tensor]
"""Settings, and the shapes ``(A, 2)`` before and after."""


def fit_anchors(model: VisionModel, shapes: Tensor, seed: int) -> Fitted:
    """Fit the anchors of `model` to boxes.

    Args:
        model: a detector.
        shapes: width and height ``(N, 2)`` of boxes in pixels of its input.
        seed: of the initial anchors.

    Raises:
        InputError: it has no anchors, or there are fewer different boxes than anchors.
    """
    for part in ("rpn", "head"):
        head = getattr(model, part, None)
        for kind, fit in _FITS:
            if isinstance(head, kind):
                return Fitted(part, type(head).__name__, *fit(head, shapes, seed, model))
    raise InputError(f"{type(model).__name__} has no anchors: it learns boxes of any shape as they are")


def _fit_yolo(head: Any, shapes: Tensor, seed: int, model: Any) -> Shapes:
    before = torch.cat([getattr(head, f"anchors{level}") for level in range(len(head.anchors_per_cell))])
    fitted = kmeans_anchors(shapes, len(before), seed)
    levels = [_rounded(level.tolist()) for level in fitted.split(head.anchors_per_cell)]
    return {"anchors": levels}, before, torch.tensor([anchor for level in levels for anchor in level])


def _fit_generator(head: Any, shapes: Tensor, seed: int, model: Any) -> Shapes:
    generator: AnchorGenerator = head.anchor_generator
    per_level = len(generator.sizes[0])
    sides = _sides(shapes, generator.levels * per_level, seed)
    sizes = _rounded(sides.view(-1, per_level).tolist())
    ratios = _aspect_ratios(shapes, generator.aspect_ratios, seed)
    fitted = AnchorGenerator(sizes, ratios, generator.strides)
    return {"anchor_sizes": sizes, "aspect_ratios": ratios}, _generated(generator), _generated(fitted)


def _fit_ssd(head: Any, shapes: Tensor, seed: int, model: Any) -> Shapes:
    boxes: DefaultBoxes = head.default_boxes
    unit = model.preprocess.size if boxes.relative else 1
    sides = (_sides(shapes, len(boxes.sizes), seed) / unit).tolist()
    sizes = [round(side, 3 if boxes.relative else 1) for side in sides]
    fitted = DefaultBoxes(sizes, boxes.aspect_ratios)
    name = "scales" if boxes.relative else "sizes"
    return {name: sizes}, _default(boxes) * unit, _default(fitted) * unit


_FITS: list[tuple[type, Callable[[Any, Tensor, int, Any], Shapes]]] = [
    (RPN, _fit_generator),
    (RetinaNetHead, _fit_generator),
    (SSDHead, _fit_ssd),
    (YOLOHead, _fit_yolo),
]


def _sides(shapes: Tensor, count: int, seed: int) -> Tensor:
    """The sides of `count` squares, smallest first, fitted to squares of the area of each box."""
    return kmeans_anchors(shapes.prod(dim=1).sqrt()[:, None].expand(-1, 2), count, seed)[:, 0]


def _aspect_ratios(shapes: Tensor, present: list[float], seed: int) -> list[float]:
    """As many ratios of height to width as there are, fitted to boxes of equal area; those, where boxes have fewer."""
    elongation = (shapes[:, 1] / shapes[:, 0]).sqrt()
    equal = 100 * torch.stack((1 / elongation, elongation), dim=1)
    if len(torch.unique(equal, dim=0)) < len(present):
        return present
    width, height = kmeans_anchors(equal, len(present), seed).unbind(dim=1)
    return [round(ratio, 2) for ratio in (height / width).sort().values.tolist()]


def _generated(generator: AnchorGenerator) -> Tensor:
    bases = torch.cat([getattr(generator, f"base{level}") for level in range(generator.levels)])
    return bases[:, 2:] - bases[:, :2]


def _default(boxes: DefaultBoxes) -> Tensor:
    return torch.cat([getattr(boxes, f"shapes{level}") for level in range(len(boxes.aspect_ratios))])


def _rounded(rows: list[list[float]]) -> list[list[float]]:
    """Whole pixels, and tenths of those below 10."""
    return [[round(number) if number >= 10 else round(number, 1) for number in row] for row in rows]
