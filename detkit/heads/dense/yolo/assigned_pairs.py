"""The result of YOLO's assignment: pairs of an object and the prediction that learns it.

B  images     P  predictions of an image     K  classes     M  pairs of a batch
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from detkit.heads.assignment import image_areas
from detkit.heads.context import Context


class Assigned(NamedTuple):
    """The M pairs of an object and a prediction.

    Sizes depend on the number of objects only, so that nothing waits for the device.

    Args:
        predictions: ``(M,)`` int64, the prediction of each pair, out of ``B * P``.
        boxes: ``(M, 4)`` of the objects, in pixels.
        labels: ``(M,)`` of the objects.
        xy_offsets: ``(M, 2)``, the object's center within its cell, in [0, 1].
        anchors: ``(M, 2)``, width and height of the anchors, in pixels.
        valid: ``(M,)`` bool, whether the prediction learns the object.
        is_last: ``(M,)`` bool, the last valid pair of each prediction that has one: in darknet the last object wins.
        last_pair: ``(M,)`` int64, the last valid pair of the same prediction.
        owners: ``(B, P)`` int64, the last valid pair of each prediction, -1 where there is none.
        objects: ``(M,)`` int64, the object's row in `Context.objects`, see `DenseHead.assign`.
    """

    predictions: Tensor
    boxes: Tensor
    labels: Tensor
    xy_offsets: Tensor
    anchors: Tensor
    valid: Tensor
    is_last: Tensor
    last_pair: Tensor
    owners: Tensor
    objects: Tensor

    @property
    def positive(self) -> Tensor:
        """Which predictions learn an object, bool ``(B, P)``."""
        return self.owners >= 0

    @property
    def images(self) -> Tensor:
        """The image of each pair ``(M,)``."""
        return self.predictions // self.owners.shape[1]

    def class_targets(self, num_classes: int) -> Tensor:
        """Class targets ``(M, K)`` in {0, 1}: the classes of all objects that the pair's prediction learns."""
        targets = self.boxes.new_zeros(len(self.labels) + 1, num_classes)
        rows = torch.where(self.valid, self.last_pair, len(self.labels))
        targets[rows, self.labels] = 1
        return targets[self.last_pair]

    def sizes(self) -> Tensor:
        """Widths and heights ``(M, 2)`` of the objects in pixels."""
        return self.boxes[:, 2:] - self.boxes[:, :2]

    def log_wh(self) -> Tensor:
        """The targets ``(M, 2)`` of the width and height outputs: logarithms of the sizes in anchors."""
        return torch.log(self.sizes() / self.anchors)

    def small_box_weights(self, context: Context) -> Tensor:
        """Weights ``(M,)`` of the box losses, from 1 for a box as large as the image to 2 for the smallest."""
        return 2 - self.sizes().prod(dim=1) / image_areas(context.batch.sizes, self.images)
