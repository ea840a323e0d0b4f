"""The YOLOv1 head: fully connected layers predict the contents of each cell of a grid (Redmon et al. 2015).

B  images     S  cells along a side     A  boxes of a cell     K  classes     T  boxes of a batch, crowds included
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.boxes import cell_corners
from detkit.errors import InputError
from detkit.heads.assignment import NO_OBJECT, NOT_LEARNED, image_indices, not_background
from detkit.heads.class_rows import ClassRows
from detkit.heads.context import Candidates, Context
from detkit.heads.dense.dense_head import DenseHead, batch_candidates
from detkit.heads.dense.yolo.yolo import YOLOHead, mean_over_images
from detkit.heads.postprocess import NMS, Postprocess
from detkit.heads.scored_boxes import PaddedBoxes
from detkit.ops.iou import paired_iou
from detkit.structures.objects import Objects

EPSILON = 1e-6  # probabilities are clamped to at least this distance from 0 and 1 before their logit


class YOLOv1Output(NamedTuple):
    """The outputs for each cell, in darknet's order.

    Args:
        classes: ``(B, S * S, K)`` probabilities of the classes given that there is an object.
        confidences: ``(B, S * S, A)`` expected IoU of each box.
        coordinates: ``(B, S * S, A, 4)`` centers within the cell, in cells, and square roots of the width and height as
            fractions of the image.
    """

    classes: Tensor
    confidences: Tensor
    coordinates: Tensor


class YOLOv1Head(DenseHead):
    """Fully connected layers predict one class and a few boxes for each of S x S cells (section 2).

    Outputs are linear: only training keeps them in their range. The box of a cell with the greatest IoU with its object
    is responsible for it, and its confidence learns that IoU.

    Args:
        in_channels: channels of each map; the last is used.
        strides: strides of the maps.
        num_classes: classes without background.
        side: cells of the grid, and of the last map, along each side.
        boxes_per_cell: the paper's B.
        hidden: width of the hidden layer, or channels of a `local` one.
        local: use a 3x3 convolution with different weights in each cell as hidden layer, as in darknet's yolov1.cfg,
            instead of the paper's fully connected layer.
        dropout: probability of dropping a value of the hidden layer.
        coord_scale: weight of the box loss (equation 3).
        background_scale: weight of the confidence loss where there is no object (equation 3).
        postprocess: as of `YOLOHead`.
    """

    own_values = YOLOHead.own_values
    unassigned_because = "another object has its center in their cell, which predicts one; enlarge side of the head"

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        num_classes: int,
        side: int = 7,
        boxes_per_cell: int = 2,
        hidden: int = 4096,
        local: bool = False,
        dropout: float = 0.5,
        coord_scale: float = 5.0,
        background_scale: float = 0.5,
        postprocess: NMS | Postprocess | None = None,
    ) -> None:
        super().__init__()
        self.side, self.boxes_per_cell, self.num_classes = side, boxes_per_cell, num_classes
        self.stride = strides[-1]
        self.coord_scale = coord_scale
        self.background_scale = background_scale
        self.postprocess = postprocess
        channels, cells = in_channels[-1], side * side
        self.predict = nn.Sequential(
            nn.Sequential(LocallyConnected(channels, hidden, side), nn.Flatten())
            if local
            else nn.Sequential(nn.Flatten(), nn.Linear(channels * cells, hidden)),
            nn.LeakyReLU(0.1),
            nn.Dropout(dropout),
            nn.Linear(hidden * (cells if local else 1), cells * (num_classes + 5 * boxes_per_cell)),
        )

    def class_rows(self) -> Mapping[str, ClassRows]:
        """The classes of all cells, ahead of the confidences and boxes."""
        cells = self.side**2
        rest = cells * 5 * self.boxes_per_cell
        return {"predict.3": ClassRows(nn.Linear.reset_parameters, groups=cells, rest=rest)}

    def forward(self, features: list[Tensor], context: Context) -> YOLOv1Output:
        """The outputs for each cell of the last of `features`.

        Raises:
            InputError: the last map is not S x S.
        """
        if tuple(features[-1].shape[-2:]) != (self.side, self.side):
            size = self.side * self.stride
            raise InputError(
                f"YOLOv1 with {self.side} x {self.side} cells on a backbone of stride {self.stride} needs images of "
                f"{size} x {size}, got {tuple(context.batch.padded_size)}: set the size of its preprocess"
            )
        return self.split(self.predict(features[-1]))

    def split(self, outputs: Tensor) -> YOLOv1Output:
        """The parts of darknet's flat `outputs` ``(B, S * S * (K + 5 A))``."""
        cells, count = self.side**2, self.boxes_per_cell
        sizes = [cells * self.num_classes, cells * count, cells * count * 4]
        classes, confidences, coordinates = torch.split(outputs.float(), sizes, dim=1)
        return YOLOv1Output(
            torch.unflatten(classes, 1, (cells, -1)), torch.unflatten(confidences, 1, (cells, -1)),
            torch.unflatten(coordinates, 1, (cells, count, 4)),
        )  # fmt: skip

    def boxes(self, coordinates: Tensor, image_size: Tensor) -> Tensor:
        """Boxes ``(B, S * S, A, 4)`` in a network's input of `image_size` ``(2,)`` (width, height)."""
        corners = cell_corners((self.side, self.side), coordinates).flatten(0, 1)[:, None]
        centers = (coordinates[..., :2] + corners) / self.side * image_size
        half_sizes = coordinates[..., 2:].square() * image_size / 2
        return torch.cat((centers - half_sizes, centers + half_sizes), dim=-1)

    @torch.no_grad()
    def decode_padded(self, raw: YOLOv1Output, context: Context) -> PaddedBoxes:
        """Boxes whose confidence times the class probability of their cell passes the threshold (equation 1)."""
        boxes = self.boxes(raw.coordinates, _size(raw, context)).flatten(1, 2)
        scores = (raw.confidences[..., None] * raw.classes[:, :, None]).clamp(max=1).flatten(1, 2)
        image, box, labels, scores = self.postprocess.topk_candidates(scores)
        return self.postprocess.suppress_padded(boxes[image, box], scores, labels, image, context.batch.sizes)

    def candidates(self, raw: YOLOv1Output, context: Context) -> Candidates:
        """The boxes of all cells; a score is the sigmoid of the objectness times that of the logit.

        The network predicts probabilities, which may leave [0, 1]: logits are those of the clamped ones, without a
        gradient outside.
        """
        boxes = self.boxes(raw.coordinates, _size(raw, context)).flatten(1, 2)
        classes = raw.classes.repeat_interleave(self.boxes_per_cell, dim=1)
        return batch_candidates(boxes, classes.logit(EPSILON), raw.confidences.flatten(1).logit(EPSILON))

    @torch.no_grad()
    def assign(self, raw: YOLOv1Output, context: Context) -> Tensor:
        """The object that each box is to predict ``(B * S * S * A,)``; see `DenseHead.assign`."""
        truth, image_size = context.objects, _size(raw, context)
        boxes = self.boxes(raw.coordinates, image_size).flatten(0, 1)
        cells, _, counts = self._cells(truth, len(raw.coordinates), image_size)
        best, _ = self._responsible(boxes[cells], truth.boxes.float(), image_size)
        rows = torch.where(self._ignore_mask(boxes, context), NOT_LEARNED, NO_OBJECT)
        # An extra row for objects that are not learned.
        rows = torch.cat((rows, rows[:1]))
        rows[torch.where(counts > 0, cells, len(rows) - 1), best] = torch.arange(len(best), device=best.device)
        return rows[:-1].flatten()

    @torch.no_grad()
    def ideal(self, raw: YOLOv1Output, context: Context) -> YOLOv1Output:
        """The first object of each cell, predicted exactly by its responsible box; see `DenseHead.ideal`."""
        truth, image_size = context.objects, _size(raw, context)
        image, cell, box = torch.where((rows := self.assign(raw, context).view_as(raw.confidences)) >= 0)
        matched = rows[image, cell, box]
        _, offsets, _ = self._cells(truth, len(raw.coordinates), image_size)
        sizes = ((truth.boxes[:, 2:] - truth.boxes[:, :2]) / image_size).sqrt()
        ideal = YOLOv1Output(*(torch.zeros_like(part) for part in raw))
        ideal.classes[image, cell, truth.labels[matched]] = 1
        ideal.confidences[image, cell, box] = 1
        ideal.coordinates[image, cell, box] = torch.cat((offsets, sizes), dim=1)[matched]
        return ideal

    def losses(self, raw: YOLOv1Output, context: Context) -> dict[str, Tensor]:
        """``yolo_box``, ``yolo_obj`` and ``yolo_cls``: half the squared errors of equation 3, per image."""
        truth, image_size = context.objects, _size(raw, context)
        objects = truth.boxes.float()
        cells, xy_offsets, counts = self._cells(truth, len(raw.coordinates), image_size)
        targets = torch.cat((xy_offsets, ((objects[:, 2:] - objects[:, :2]) / image_size).sqrt()), dim=1)

        boxes = self.boxes(raw.coordinates.detach(), image_size).flatten(0, 1)
        best, iou = self._responsible(boxes[cells], objects, image_size)
        coordinates = raw.coordinates.flatten(0, 1)[cells, best]
        box = self.coord_scale * (counts * (coordinates - targets).square().sum(dim=1)).sum() / 2

        confidences = raw.confidences.flatten(0, 1)
        background = ~self._ignore_mask(boxes, context)
        # An extra row for objects that are not learned.
        background = torch.cat((background, background[:1]))
        background[torch.where(counts > 0, cells, len(confidences)), best] = False
        foreground_error = (confidences[cells, best] - iou).square()
        obj = self.background_scale * (background[:-1] * confidences.square()).sum() / 2
        obj = obj + (counts * foreground_error).sum() / 2

        # torch's one_hot reads the labels, for which a device waits.
        one_hot = (truth.labels[:, None] == torch.arange(self.num_classes, device=cells.device)).float()
        errors = (raw.classes.flatten(0, 1)[cells] - one_hot).square().sum(dim=1)
        cls = (counts * errors).sum() / 2
        return mean_over_images(context.objects, box, obj, cls)

    def _ignore_mask(self, boxes: Tensor, context: Context) -> Tensor:
        """Which of `boxes` ``(B * S * S, A, 4)`` are not background: in a crowd, or in an image without annotation."""
        image_index = image_indices(len(context.truth), self.side**2 * self.boxes_per_cell, boxes.device)
        ignored = not_background(boxes.flatten(0, 1), context.objects, image_index)
        return torch.zeros_like(boxes[..., 0], dtype=torch.bool) if ignored is None else ignored.view(boxes.shape[:2])

    def _cells(self, truth: Objects, images: int, image_size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The cell of each object, out of ``B * S * S``, its center in it, and 1 if it is the cell's first, else 0."""
        boxes = truth.boxes.float()
        centers = (boxes[:, :2] + boxes[:, 2:]) / 2 / image_size * self.side
        corners = centers.long().clamp(0, self.side - 1)
        cells = (truth.image_index * self.side + corners[:, 1]) * self.side + corners[:, 0]
        order = torch.arange(len(cells), device=cells.device)
        first = torch.full((images * self.side**2,), len(cells), device=cells.device)
        first.scatter_reduce_(0, cells, order, "amin")
        return cells, centers - corners, (first[cells] == order).float()

    def _responsible(self, boxes: Tensor, truth: Tensor, image_size: Tensor) -> tuple[Tensor, Tensor]:
        """The index of the responsible box of each object, out of those of its cell ``(T, A, 4)``, and its IoU."""
        count = self.boxes_per_cell
        iou = paired_iou(boxes.flatten(0, 1), truth.repeat_interleave(count, dim=0)).view(-1, count)
        error = _centers_and_sizes(boxes, image_size) - _centers_and_sizes(truth, image_size)[:, None]
        # A box that overlaps the object wins over any that does not; among the latter, the nearest wins.
        rank = torch.where(iou > 0, iou, -error.square().sum(dim=-1))
        best = rank.argmax(dim=1)
        return best, iou.gather(1, best[:, None])[:, 0]


def _size(raw: YOLOv1Output, context: Context) -> Tensor:
    """(width, height) ``(2,)`` of the network's input, padding included, over which the cells are spread."""
    height, width = context.batch.padded_size
    return raw.coordinates.new_tensor((width, height))


def _centers_and_sizes(boxes: Tensor, image_size: Tensor) -> Tensor:
    """``x y w h`` as fractions of the image."""
    centers, sizes = (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
    return torch.cat((centers / image_size, sizes / image_size), dim=-1)


class LocallyConnected(nn.Module):
    """A 3x3 convolution with different weights in every cell of a square map (darknet's ``[local]``).

    Args:
        in_channels: channels of the map.
        out_channels: channels of the result.
        side: cells along each side.
    """

    def __init__(self, in_channels: int, out_channels: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.weight = nn.Parameter(torch.empty(side * side, out_channels, in_channels * 9))
        self.bias = nn.Parameter(torch.zeros(out_channels, side, side))
        nn.init.normal_(self.weight, std=(2 / (in_channels * 9)) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, out_channels, side, side)`` of `x` ``(B, in_channels, side, side)``."""
        patches = F.unfold(x, 3, padding=1).permute(2, 1, 0)  # (cells, in_channels * 9, B)
        maps = torch.unflatten((self.weight @ patches).permute(2, 1, 0), 2, (self.side, self.side))
        return maps + self.bias
