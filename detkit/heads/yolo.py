"""What the heads of YOLOv2, v3 and v4 have in common: anchors in grid cells, who is to find what, and decoding.

    P  predictions of an image over all levels, each level in the order (anchor, y, x)
    T  objects of a batch, crowds included     M  pairs of an object and a prediction that is to find it

Beside each other, v2 to v4 are a list of changes: see `losses` in yolo_v2.py, yolo_v3.py and yolo_v4.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from detkit.anchors import shape_iou
from detkit.boxes import CellCoder, clip_boxes, coverage
from detkit.errors import InputError
from detkit.heads.dense_head import DenseHead
from detkit.ops import batched_nms, box_iou
from detkit.structures import Detections, Target

Anchors = Sequence[Sequence[tuple[float, float]]]

IGNORE_COVERAGE = 0.5  # the share of a prediction inside a crowd from which on it is not background


class Assigned(NamedTuple):
    """The M pairs of an object and a prediction. Sizes depend on the number of objects alone: nothing waits for a GPU.

    Args:
        predictions: ``(M,)`` int64, which of the ``B * P``.
        boxes: ``(M, 4)`` of the objects, in pixels.
        labels: ``(M,)`` of the objects.
        places: ``(M, 2)`` the object's centre within its cell, in [0, 1].
        anchors: ``(M, 2)`` of the predictions, in pixels.
        valid: ``(M,)`` bool, false where a pair does not count.
        last: ``(M,)`` bool, the last valid pair of each prediction that has one: darknet lets the last object win.
        leaders: ``(M,)`` int64, the last pair of the same prediction.
        positive: ``(B, P)`` bool, the predictions that have an object.
    """

    predictions: Tensor
    boxes: Tensor
    labels: Tensor
    places: Tensor
    anchors: Tensor
    valid: Tensor
    last: Tensor
    leaders: Tensor
    positive: Tensor

    def class_targets(self, num_classes: int) -> Tensor:
        """``(M, K)`` 1 for the class of each object that the pair's prediction has, the same for all of its pairs."""
        targets = self.boxes.new_zeros(len(self.labels) + 1, num_classes)
        rows = torch.where(self.valid, self.leaders, len(self.labels))
        targets[rows, self.labels] = 1
        return targets[self.leaders]

    def sizes(self) -> Tensor:
        """Widths and heights ``(M, 2)`` of the objects in pixels."""
        return self.boxes[:, 2:] - self.boxes[:, :2]


class YOLOHead(DenseHead):
    """A 1x1 convolution on each map says ``x y w h``, objectness and the classes for each anchor in each cell.

    Args:
        in_channels: channels of each map, finest first.
        strides: strides of the maps.
        num_classes: classes without background.
        anchors: width and height in pixels of the network's input, for each map its own, finest first.
        scale_x_y: see `CellCoder`, for each map.
        new_coords: see `CellCoder`.
        score_threshold: scores must be greater than this.
        nms_threshold: IoU above which the less likely of two boxes of a class is dropped.
        candidates: most boxes of an image that enter suppression.
        detections: most detections of an image.

    Raises:
        InputError: channels, strides, anchors and scale_x_y are not as many.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        num_classes: int,
        anchors: Anchors,
        scale_x_y: Sequence[float],
        new_coords: bool,
        score_threshold: float,
        nms_threshold: float,
        candidates: int,
        detections: int,
    ) -> None:
        super().__init__()
        if not len(in_channels) == len(strides) == len(anchors) == len(scale_x_y):
            raise InputError(
                f"{type(self).__name__} got maps with channels {list(in_channels)} and strides {list(strides)}, "
                f"but anchors {[[tuple(size) for size in level] for level in anchors]} and scale_x_y {list(scale_x_y)}"
            )
        self.strides = list(strides)
        self.num_classes = num_classes
        self.anchors_per_cell = [len(level) for level in anchors]
        for level, sizes in enumerate(anchors):
            self.register_buffer(f"anchors{level}", torch.tensor(sizes, dtype=torch.float32), persistent=False)
        self.coders = [CellCoder(scale, new_coords) for scale in scale_x_y]
        self.score_threshold = score_threshold
        self.nms_threshold = nms_threshold
        self.candidates = candidates
        self.detections = detections
        self.predict = nn.ModuleList(
            nn.Conv2d(channels, count * (5 + num_classes), 1)
            for channels, count in zip(in_channels, self.anchors_per_cell, strict=True)
        )
        for conv in self.predict:
            nn.init.normal_(conv.weight, std=0.01)
            nn.init.zeros_(conv.bias)
            conv.bias.data.view(-1, 5 + num_classes)[:, 4] = -4.6  # objects are rare: 1 % (Lin 2017, section 3.3)

    def forward(self, features: list[Tensor], padded_size: tuple[int, int]) -> list[Tensor]:
        """Raw outputs ``(B, A, H, W, 5 + K)`` of each map: ``x y w h``, objectness, classes.

        Raises:
            InputError: the image batch is no multiple of the strides.
        """
        for feature, stride in zip(features, self.strides, strict=True):
            if tuple(cells * stride for cells in feature.shape[-2:]) != tuple(padded_size):
                raise InputError(
                    f"a YOLO needs images whose sides are multiples of {self.strides[-1]}, got {tuple(padded_size)}: "
                    f"set the size of its preprocess"
                )
        return [
            per_anchor(conv(feature), count)
            for conv, feature, count in zip(self.predict, features, self.anchors_per_cell, strict=True)
        ]

    def class_scores(self, logits: Tensor) -> Tensor:
        """Probabilities of the classes ``(..., K)`` given that there is an object."""
        raise NotImplementedError

    def level_anchors(self) -> list[Tensor]:
        """Width and height ``(A, 2)`` of each level's anchors in pixels."""
        return [getattr(self, f"anchors{level}") for level in range(len(self.strides))]

    def boxes(self, raw: list[Tensor]) -> Tensor:
        """All boxes ``(B, P, 4)`` in pixels of the network's input."""
        levels = zip(raw, self.coders, self.level_anchors(), self.strides, strict=True)
        decoded = [coder.decode(x[..., :4], anchors, stride) for x, coder, anchors, stride in levels]
        return torch.cat([boxes.flatten(1, 3) for boxes in decoded], dim=1)

    @torch.no_grad()
    def decode(self, raw: list[Tensor], image_sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        """Boxes whose objectness times class probability is high enough, after suppression within each class."""
        boxes, outputs = self.boxes(raw), flattened(raw)
        objectness = outputs[..., 4].sigmoid()
        found = []
        for image, size in enumerate(image_sizes):
            # Most predictions are dropped before their classes are looked at: a class is at most as likely.
            rows = torch.where(objectness[image] > self.score_threshold)[0]
            scores = objectness[image, rows, None] * self.class_scores(outputs[image, rows, 5:])
            found.append(self.select(boxes[image, rows], scores, size))
        return found

    def select(self, boxes: Tensor, scores: Tensor, size: tuple[int, int]) -> Detections:
        """The detections among `boxes` ``(R, 4)`` with `scores` ``(R, K)``; suppressed first, then cut to `size`."""
        return select_uncut(
            boxes, scores, size, self.score_threshold, self.nms_threshold, self.candidates, self.detections
        )

    @torch.no_grad()
    def assign(self, raw: list[Tensor], targets: Sequence[Target], further_iou: float = 1.0) -> Assigned:
        """Each object goes to the cell of its centre and there to the anchor whose shape is most like its own.

        Args:
            raw: the network's output, for the sizes of its grids.
            targets: ground truth of each image in pixels of the network's input.
            further_iou: anchors of any level with a greater IoU of shapes than this get the object as well.
        """
        device = raw[0].device
        boxes = torch.cat([target.boxes for target in targets])
        image = torch.cat([torch.full_like(target.labels, index) for index, target in enumerate(targets)])
        anchors = torch.cat(self.level_anchors())
        likeness = shape_iou(boxes[:, 2:] - boxes[:, :2], anchors)
        valid = likeness > further_iou
        valid.scatter_(1, likeness.argmax(dim=1, keepdim=True), True)
        valid &= ~torch.cat([crowds(target) for target in targets])[:, None]

        places, indices, offset = [], [], 0
        centers = (boxes[:, :2] + boxes[:, 2:]) / 2
        for x, stride in zip(raw, self.strides, strict=True):
            _, count, height, width = x.shape[:4]
            in_cells = centers / stride
            column, row = in_cells[:, 0].long().clamp(0, width - 1), in_cells[:, 1].long().clamp(0, height - 1)
            places.append((in_cells - torch.stack((column, row), dim=1))[:, None].expand(-1, count, 2))
            anchor = torch.arange(count, device=device)
            indices.append(offset + (anchor * height + row[:, None]) * width + column[:, None])
            offset += count * height * width
        predictions = torch.cat(indices, dim=1) + (image * offset)[:, None]
        pairs = predictions.numel()
        predictions, valid, order = predictions.flatten(), valid.flatten(), torch.arange(pairs, device=device)

        # One place more, where pairs that do not count go.
        owners = torch.full((len(targets) * offset + 1,), -1, device=device)
        owners.scatter_reduce_(0, torch.where(valid, predictions, len(owners) - 1), order, "amax")
        leaders = torch.where(valid, owners[predictions], order)
        return Assigned(
            predictions=predictions,
            boxes=boxes.repeat_interleave(len(anchors), dim=0),
            labels=torch.cat([target.labels for target in targets]).repeat_interleave(len(anchors)),
            places=torch.cat(places, dim=1).reshape(pairs, 2),
            anchors=anchors.repeat(len(boxes), 1),
            valid=valid,
            last=valid & (leaders == order),
            leaders=leaders,
            positive=(owners[:-1] >= 0).view(len(targets), offset),
        )

    @torch.no_grad()
    def ignored(
        self, boxes: Tensor, targets: Sequence[Target], threshold: float, confident: Tensor | None = None
    ) -> Tensor:
        """Which predictions ``(B, P)`` are no background though they have no object: close to one, or in a crowd.

        Args:
            boxes: predicted boxes ``(B, P, 4)``.
            targets: ground truth of each image.
            threshold: IoU above which a prediction is close to an object.
            confident: ``(B, P)`` bool, those that IoU can excuse; all if not given.
        """
        near = torch.zeros(boxes.shape[:2], dtype=torch.bool, device=boxes.device)
        inside = near.clone()
        for image, target in enumerate(targets):
            if len(target):
                near[image] = ((box_iou(boxes[image], target.boxes) > threshold) & ~crowds(target)).any(dim=1)
                inside[image] = in_crowd(boxes[image], target)
        return inside | (near if confident is None else near & confident)


def per_anchor(x: Tensor, anchors: int) -> Tensor:
    """``(B, A * values, H, W)`` as ``(B, A, H, W, values)``."""
    return x.unflatten(1, (anchors, -1)).permute(0, 1, 3, 4, 2)


def flattened(raw: Sequence[Tensor]) -> Tensor:
    """The outputs of all levels ``(B, P, values)``, float32 under autocast too."""
    return torch.cat([x.float().flatten(1, 3) for x in raw], dim=1)


def crowds(target: Target) -> Tensor:
    """Which of a target's boxes are crowd or ignore regions, bool ``(N,)``."""
    return torch.zeros_like(target.labels, dtype=torch.bool) if target.iscrowd is None else target.iscrowd


def in_crowd(boxes: Tensor, target: Target) -> Tensor:
    """Which of `boxes` ``(R, 4)`` lie mostly in a crowd or ignore region, where there is no background to learn."""
    if target.iscrowd is None or len(target) == 0:
        return torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    return ((coverage(boxes, target.boxes) >= IGNORE_COVERAGE) & target.iscrowd).any(dim=1)


def select_uncut(
    boxes: Tensor,
    scores: Tensor,
    size: tuple[int, int],
    score_threshold: float,
    nms_threshold: float,
    candidates: int,
    detections: int,
) -> Detections:
    """As `select_detections`, but boxes are suppressed before they are cut to the image, as darknet does.

    Args:
        boxes: ``(R, 4)``, one for all classes.
        scores: ``(R, K)`` in [0, 1].
        size: (height, width) to cut to.
        score_threshold: scores must be greater than this.
        nms_threshold: IoU above which the less likely of two boxes of a class is dropped.
        candidates: the best so many enter suppression.
        detections: the most that are returned.
    """
    row, label = torch.where((scores > score_threshold) & boxes.isfinite().all(dim=1, keepdim=True))
    scores = scores[row, label]
    if len(scores) > candidates:
        scores, best = scores.topk(candidates)
        row, label = row[best], label[best]
    boxes = boxes[row]
    kept = batched_nms(boxes, scores, label, nms_threshold)[:detections]
    return Detections(clip_boxes(boxes[kept], size), scores[kept], label[kept])
