"""YOLOv1: the whole image at once says what is in each cell of a grid (Redmon 2015)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.boxes import cell_corners
from detkit.errors import InputError
from detkit.heads.context import Candidates, Context
from detkit.heads.dense.dense_head import DenseHead, in_turn
from detkit.heads.dense.yolo.yolo import YOLOHead, of_images
from detkit.heads.postprocess import NMS, Postprocess
from detkit.heads.truth import NO_OBJECT, NOT_LEARNED, annotated, crowds, in_crowd
from detkit.ops.iou import paired_iou
from detkit.structures import Detections, Target

EPSILON = 1e-6  # the probability next to 0, and to 1, that still has a logit


class YOLOv1Output(NamedTuple):
    """What the network says of each cell; the order of the fields is that of darknet's outputs.

    Args:
        classes: ``(B, S * S, K)`` probabilities of the classes given that there is an object.
        confidences: ``(B, S * S, A)`` the IoU to be expected of each of a cell's boxes.
        coordinates: ``(B, S * S, A, 4)`` the center within the cell, and square roots of the size, in images.
    """

    classes: Tensor
    confidences: Tensor
    coordinates: Tensor


class YOLOv1Head(DenseHead):
    """Fully connected layers say, for each of S x S cells, one class and a few boxes (section 2).

    Outputs are linear, and nothing but training keeps them in their range. The box that overlaps an object most is
    responsible for it, and its confidence learns that IoU.

    Args:
        in_channels: channels of each map; the last is used.
        strides: strides of the maps.
        num_classes: classes without background.
        side: cells of the grid, and of the last map, along each side.
        boxes_per_cell: the paper's B.
        hidden: width of the hidden layer; of a `local` one, channels.
        local: the hidden layer is a 3x3 convolution with weights of its own in each cell, as in darknet's yolov1.cfg,
            and not the paper's fully connected one.
        dropout: of the hidden layer.
        coord_scale: how much boxes count (equation 3).
        background_scale: how much confidence counts where there is no object (equation 3).
        postprocess: as of `YOLOHead`.
    """

    own_values = YOLOHead.own_values

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

    def forward(self, features: list[Tensor], context: Context) -> YOLOv1Output:
        """What the last of `features` says of every cell.

        Raises:
            InputError: the last map is not S x S.
        """
        if tuple(features[-1].shape[-2:]) != (self.side, self.side):
            size = self.side * self.stride
            raise InputError(
                f"YOLOv1 with {self.side} x {self.side} cells on a trunk of stride {self.stride} needs images of "
                f"{size} x {size}, got {tuple(context.batch.padded_size)}: set the size of its preprocess"
            )
        return self.split(self.predict(features[-1]))

    def split(self, outputs: Tensor) -> YOLOv1Output:
        """The parts of darknet's flat `outputs` ``(B, S * S * (K + 5 A))``."""
        cells, count = self.side**2, self.boxes_per_cell
        sizes = (cells * self.num_classes, cells * count, cells * count * 4)
        classes, confidences, coordinates = outputs.float().split(sizes, dim=1)
        return YOLOv1Output(
            classes.unflatten(1, (cells, -1)), confidences.unflatten(1, (cells, -1)),
            coordinates.unflatten(1, (cells, count, 4)),
        )  # fmt: skip

    def boxes(self, coordinates: Tensor, image_size: Tensor) -> Tensor:
        """Boxes ``(B, S * S, A, 4)`` in a network's input of `image_size` ``(2,)`` (width, height)."""
        corners = cell_corners((self.side, self.side), coordinates).flatten(0, 1)[:, None]
        centers = (coordinates[..., :2] + corners) / self.side * image_size
        half_sizes = coordinates[..., 2:].square() * image_size / 2
        return torch.cat((centers - half_sizes, centers + half_sizes), dim=-1)

    @torch.no_grad()
    def decode(self, raw: YOLOv1Output, context: Context) -> list[Detections]:
        """Boxes whose confidence times their cell's class probability is high enough (equation 1)."""
        boxes = self.boxes(raw.coordinates, _size(raw, context)).flatten(1, 2)
        scores = (raw.confidences[..., None] * raw.classes[:, :, None]).clamp(max=1).flatten(1, 2)
        image, box, labels, scores = self.postprocess.likeliest(scores)
        found = self.postprocess.suppressed(boxes[image, box], scores, labels, image, context.batch.sizes)
        return context.batch.restore(found)

    def candidates(self, raw: YOLOv1Output, context: Context) -> Candidates:
        """The boxes of all cells; a score is the sigmoid of the objectness times that of the logit.

        The network says probabilities, though nothing keeps them in their range: the logits are of what they are within
        it, and have no gradient beyond.
        """
        boxes = self.boxes(raw.coordinates, _size(raw, context)).flatten(1, 2)
        classes = raw.classes.repeat_interleave(self.boxes_per_cell, dim=1)
        return in_turn(boxes, classes.logit(EPSILON), raw.confidences.flatten(1).logit(EPSILON))

    @torch.no_grad()
    def assign(self, raw: YOLOv1Output, context: Context) -> Tensor:
        """Which object each box is to find ``(B * S * S * A,)``; see `DenseHead.assign`."""
        targets = annotated(context.truth, raw.coordinates.device)
        truth = torch.cat([target.boxes for target in targets]).float()
        image_size = _size(raw, context)
        boxes = self.boxes(raw.coordinates, image_size).flatten(0, 1)
        cells, _, counts = self._cells(truth, targets, image_size)
        best, _ = self._responsible(boxes[cells], truth, image_size)
        rows = torch.where(self._no_background(boxes, context), NOT_LEARNED, NO_OBJECT)
        # One row more, for objects that do not count.
        rows = torch.cat((rows, rows[:1]))
        objects = (~torch.cat([crowds(target) for target in targets])).cumsum(dim=0) - 1
        rows[torch.where(counts > 0, cells, len(rows) - 1), best] = objects
        return rows[:-1].flatten()

    def losses(self, raw: YOLOv1Output, context: Context) -> dict[str, Tensor]:
        """``yolo_box``, ``yolo_obj`` and ``yolo_cls``: half the squared errors of equation 3, per image."""
        targets = annotated(context.truth, raw.coordinates.device)
        image_size = _size(raw, context)
        truth = torch.cat([target.boxes for target in targets]).float()
        cells, places, counts = self._cells(truth, targets, image_size)
        wanted = torch.cat((places, ((truth[:, 2:] - truth[:, :2]) / image_size).sqrt()), dim=1)

        boxes = self.boxes(raw.coordinates.detach(), image_size).flatten(0, 1)
        best, iou = self._responsible(boxes[cells], truth, image_size)
        coordinates = raw.coordinates.flatten(0, 1)[cells, best]
        box = self.coord_scale * (counts * (coordinates - wanted).square().sum(dim=1)).sum() / 2

        confidences = raw.confidences.flatten(0, 1)
        background = ~self._no_background(boxes, context)
        # One row more, for objects that do not count.
        background = torch.cat((background, background[:1]))
        background[torch.where(counts > 0, cells, len(confidences)), best] = False
        found = (confidences[cells, best] - iou).square()
        obj = self.background_scale * (background[:-1] * confidences.square()).sum() / 2
        obj = obj + (counts * found).sum() / 2

        one_hot = F.one_hot(torch.cat([target.labels for target in targets]), self.num_classes)
        errors = (raw.classes.flatten(0, 1)[cells] - one_hot).square().sum(dim=1)
        cls = (counts * errors).sum() / 2
        return of_images(context.truth, box, obj, cls)

    def _no_background(self, boxes: Tensor, context: Context) -> Tensor:
        """Which of `boxes` ``(B * S * S, A, 4)`` learn no background: in a crowd, or in an image without annotation."""
        each = zip(boxes.view(len(context.truth), -1, 4), context.truth, strict=True)
        whole = torch.ones(self.side**2 * self.boxes_per_cell, dtype=torch.bool, device=boxes.device)
        excused = [whole if target.boxes is None else in_crowd(of_image, target) for of_image, target in each]
        return torch.stack(excused).view(boxes.shape[:2])

    def _cells(self, truth: Tensor, targets: Sequence[Target], image_size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """For each object its cell, of ``B * S * S``, its center in it, and 1 or 0: the first of a cell counts."""
        centers = (truth[:, :2] + truth[:, 2:]) / 2 / image_size * self.side
        corners = centers.long().clamp(0, self.side - 1)
        image = torch.cat([torch.full_like(target.labels, index) for index, target in enumerate(targets)])
        cells = (image * self.side + corners[:, 1]) * self.side + corners[:, 0]
        valid = ~torch.cat([crowds(target) for target in targets])
        order = torch.arange(len(cells), device=cells.device)
        first = torch.full((len(targets) * self.side**2 + 1,), len(cells), device=cells.device)
        first.scatter_reduce_(0, torch.where(valid, cells, len(first) - 1), order, "amin")
        return cells, centers - corners, (valid & (first[cells] == order)).float()

    def _responsible(self, boxes: Tensor, truth: Tensor, image_size: Tensor) -> tuple[Tensor, Tensor]:
        """Which of each cell's boxes ``(T, A, 4)`` overlaps its object most, or is nearest, and its IoU."""
        count = self.boxes_per_cell
        iou = paired_iou(boxes.flatten(0, 1), truth.repeat_interleave(count, dim=0)).view(-1, count)
        error = _centers_and_sizes(boxes, image_size) - _centers_and_sizes(truth, image_size)[:, None]
        # A box that overlaps beats any that does not; of those that do not, the nearest is the best.
        rank = torch.where(iou > 0, iou, -error.square().sum(dim=-1))
        best = rank.argmax(dim=1)
        return best, iou.gather(1, best[:, None])[:, 0]


def _size(raw: YOLOv1Output, context: Context) -> Tensor:
    """(width, height) ``(2,)`` of the network's input, over which the cells are spread, whatever an image fills."""
    height, width = context.batch.padded_size
    return raw.coordinates.new_tensor((width, height))


def _centers_and_sizes(boxes: Tensor, image_size: Tensor) -> Tensor:
    """``x y w h`` in images."""
    centers, sizes = (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
    return torch.cat((centers / image_size, sizes / image_size), dim=-1)


class LocallyConnected(nn.Module):
    """A 3x3 convolution whose weights are different in every cell of a square map (darknet's ``[local]``).

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
        return (self.weight @ patches).permute(2, 1, 0).unflatten(2, (self.side, self.side)) + self.bias
