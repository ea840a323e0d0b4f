"""Predictions for one image: `Detections` and `Classification`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from detkit.ops import RunLengths
from detkit.structures.fields import Fields
from detkit.structures.object_fields import Boxes, Keypoints, Masks, Rows


@dataclass(frozen=True, eq=False)
class Detections(Fields):
    """The detections of one image, in the pixels of the image as it was given.

    Args:
        boxes: ``(N, 4)`` float32, ``x1 y1 x2 y2`` in pixels.
        scores: ``(N,)`` float32 in [0, 1], best first.
        labels: ``(N,)`` int64 in ``0..K-1``.
        masks: ``(N, H, W)`` bool at the size of the image, or the same as `detkit.ops.RunLengths`.
        keypoints: ``(N, J, 3)`` float32, ``x y score``.

    Raises:
        TypeError, ValueError: a field has the wrong dtype or shape; the message names it.
    """

    boxes: Annotated[Tensor, Boxes()]
    scores: Annotated[Tensor, Rows(torch.float32)]
    labels: Annotated[Tensor, Rows(torch.int64)]
    masks: Annotated[Tensor | RunLengths | None, Masks()] = None
    keypoints: Annotated[Tensor | None, Keypoints()] = None

    @classmethod
    def empty(cls) -> Detections:
        """No detections."""
        return cls(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))


@dataclass(frozen=True, eq=False)
class Classification(Fields):
    """The predicted classes of one image as a whole.

    Args:
        scores: ``(N,)`` float32 in [0, 1], best first.
        labels: ``(N,)`` int64 in ``0..K-1``, each class once.

    Raises:
        TypeError, ValueError: a field has the wrong dtype or shape; the message names it.
    """

    scores: Annotated[Tensor, Rows(torch.float32)]
    labels: Annotated[Tensor, Rows(torch.int64)]
