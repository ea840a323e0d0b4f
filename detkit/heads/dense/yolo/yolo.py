"""The base class of the YOLOv2, v3 and v4 heads: anchors in grid cells, assignment and decoding.

    B  images     K  classes     A  anchors of a cell
    P  predictions of an image over all levels, each level in the order (anchor, y, x)
    T  objects of a batch     M  pairs of an object and an anchor at its cell, T times all anchors

The versions differ in their losses: compare `losses` in yolo_v2.py, yolo_v3.py and yolo_v4.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from detkit.anchors import shape_iou
from detkit.boxes import CellCoder
from detkit.errors import InputError
from detkit.heads.assignment import CERTAIN, LIKELY, NO_OBJECT, NOT_LEARNED, image_indices, not_background
from detkit.heads.class_rows import ClassRows
from detkit.heads.context import Candidates, Context
from detkit.heads.dense.dense_head import DenseHead, batch_candidates
from detkit.heads.dense.yolo.assigned_pairs import Assigned
from detkit.heads.dense.yolo.yolo_maps import flatten_levels, per_anchor
from detkit.heads.postprocess import NMS, Postprocess
from detkit.heads.scored_boxes import PaddedBoxes
from detkit.ops import best_overlaps, is_exporting
from detkit.structures import Target
from detkit.structures.objects import Objects, objects_of

Anchors = Sequence[Sequence[tuple[float, float]]]


class YOLOHead(DenseHead):
    """A 1x1 convolution on each map predicts ``x y w h``, objectness and the classes for each anchor of each cell.

    Args:
        in_channels: channels of each map, finest first.
        strides: strides of the maps.
        num_classes: classes without background.
        anchors: width and height of the anchors of each map, finest first, in pixels of the network's input.
        ignore_iou: predictions with a greater IoU with an object are not background.
        scale_x_y: see `CellCoder`, for each map; None is 1.
        new_coords: see `CellCoder`.
        postprocess: None is `NMS` with ``score_threshold=0.005, iou_threshold=0.45, candidates=2000, detections=100``.
            Boxes are clipped to the image after suppression, as in darknet.

    Raises:
        InputError: channels, strides, anchors and scale_x_y are not for as many maps.
    """

    predict: nn.ModuleList
    unassigned_because = "another object has their cell and anchor; enlarge the images, or fit `detkit anchors`"

    own_values: ClassVar = {
        "postprocess": dict(
            score_threshold=0.005, iou_threshold=0.45, candidates=2000, detections=100, clip="after", least_side=1e-2
        )
    }

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        num_classes: int,
        anchors: Anchors,
        ignore_iou: float,
        scale_x_y: Sequence[float] | None = None,
        new_coords: bool = False,
        postprocess: NMS | Postprocess | None = None,
    ) -> None:
        super().__init__()
        scale_x_y = [1.0] * len(strides) if scale_x_y is None else scale_x_y
        if not len(in_channels) == len(strides) == len(anchors) == len(scale_x_y):
            raise InputError(
                f"{type(self).__name__} got maps with channels {list(in_channels)} and strides {list(strides)}, "
                f"but anchors {[[tuple(size) for size in level] for level in anchors]} and scale_x_y {list(scale_x_y)}"
            )
        self.strides = list(strides)
        self.ignore_iou = ignore_iou
        self.num_classes = num_classes
        self.anchors_per_cell = [len(level) for level in anchors]
        for level, sizes in enumerate(anchors):
            self.register_buffer(f"anchors{level}", torch.tensor(sizes, dtype=torch.float32), persistent=False)
        self.coders = [CellCoder(scale, new_coords) for scale in scale_x_y]
        self.postprocess = postprocess
        counts = zip(in_channels, self.anchors_per_cell, strict=True)
        layers = [nn.Conv2d(channels, count * (5 + num_classes), 1) for channels, count in counts]
        for layer, count in zip(layers, self.anchors_per_cell, strict=True):
            self.init_predictor_(layer, count)
        self.predict = nn.ModuleList(layers)

    @staticmethod
    def init_predictor_(layer: nn.Conv2d, anchors: int) -> None:
        """Initialize a layer that predicts for so many anchors of a cell."""
        nn.init.normal_(layer.weight, std=0.01)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
            layer.bias.data.view(anchors, -1)[:, 4] = -4.6  # 1 % objects at first (Lin 2017, section 3.3)

    def class_rows(self) -> Mapping[str, ClassRows]:
        """The classes of each anchor of a cell of each map, behind its box and objectness."""
        return {
            f"predict.{level}": ClassRows(partial(self.init_predictor_, anchors=count), groups=count, before=5)
            for level, count in enumerate(self.anchors_per_cell)
        }

    def forward(self, features: list[Tensor], context: Context) -> list[Tensor]:
        """Raw outputs ``(B, A, H, W, 5 + K)`` of each map: ``x y w h``, objectness, classes.

        Raises:
            InputError: the image batch is no multiple of the strides.
        """
        padded_size = context.batch.padded_size
        for feature, stride in zip(features, self.strides, strict=True):
            if tuple(cells * stride for cells in feature.shape[-2:]) != tuple(padded_size):
                raise InputError(
                    f"a YOLO needs images whose sides are multiples of {self.strides[-1]}, got {tuple(padded_size)}: "
                    "set the size of its preprocess"
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
    def decode_padded(self, raw: list[Tensor], context: Context) -> PaddedBoxes:
        """Boxes whose objectness times class probability passes the threshold, after suppression within each class."""
        boxes = self.boxes(raw)
        image, chosen, labels, scores = self._best_predictions(flatten_levels(raw))
        boxes = boxes.flatten(0, 1)[chosen]
        return self.postprocess.suppress_padded(boxes, scores, labels, image, context.batch.sizes)

    def _best_predictions(self, outputs: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The image, the row among all images' predictions, the label and the score of the best."""
        images, count = outputs.shape[:2]
        if is_exporting():
            objectness = outputs[..., 4:5].sigmoid()
            best = self.postprocess.topk_candidates(objectness * self.class_scores(outputs[..., 5:]))
            return best[0], best[0] * count + best[1], *best[2:]
        # Most predictions are dropped before their classes are computed: a score is at most the objectness.
        objectness = outputs[..., 4].flatten().sigmoid()
        predictions = torch.where(self.postprocess.above_threshold(objectness))[0]
        classes = self.class_scores(outputs.flatten(0, 1).index_select(0, predictions)[:, 5:])
        scores = (objectness.index_select(0, predictions)[:, None] * classes).flatten()
        passing = torch.where(self.postprocess.above_threshold(scores))[0]
        bounds = torch.searchsorted(predictions, torch.arange(images + 1, device=outputs.device) * count)
        scores = scores.index_select(0, passing)
        row, labels, scores = self.postprocess.topk(passing, scores, bounds, self.num_classes)
        chosen = predictions[row]
        return chosen // count, chosen, labels, scores

    def candidates(self, raw: list[Tensor], context: Context) -> Candidates:
        """The boxes of all predictions."""
        outputs = flatten_levels(raw)
        return batch_candidates(self.boxes(raw), outputs[..., 5:], outputs[..., 4], self._scores)

    def _scores(self, logits: Tensor, objectness: Tensor | None) -> Tensor:
        assert objectness is not None
        return objectness.sigmoid()[:, None] * self.class_scores(logits)

    @torch.no_grad()
    def assign(self, raw: list[Tensor], context: Context) -> Tensor:
        """The object that each prediction is trained on ``(B * P,)``: of several the last; see `DenseHead.assign`."""
        pairs = self.pairs(raw, context)
        none = torch.where(self.ignore_mask(self.boxes(raw), flatten_levels(raw), context), NOT_LEARNED, NO_OBJECT)
        # An extra row for predictions without a pair.
        objects = torch.cat((pairs.objects, pairs.objects[:1] if len(pairs.objects) else none.new_zeros(1)))
        return torch.where(pairs.positive, objects[pairs.owners], none).flatten()

    @torch.no_grad()
    def ideal(self, raw: list[Tensor], context: Context) -> list[Tensor]:
        """The box of each object, as near as its cell and anchor allow, and sure classes; see `DenseHead.ideal`."""
        pairs, sizes = self.pairs(raw, context), [x.shape[:4] for x in raw]
        outputs = flatten_levels(raw).zero_().flatten(0, 1)
        outputs[:, 4:] = -CERTAIN
        levels_of_anchors = [level for level, count in enumerate(self.anchors_per_cell) for _ in range(count)]
        level = torch.tensor(levels_of_anchors, device=outputs.device).repeat(len(context.objects.labels))
        for index, coder in enumerate(self.coders):
            own = torch.where(pairs.is_last & (level == index))[0]
            factors = pairs.sizes()[own] / pairs.anchors[own]
            outputs[pairs.predictions[own], :4] = coder.encode(pairs.xy_offsets[own], factors)
        own = torch.where(pairs.is_last)[0]
        outputs[pairs.predictions[own], 4] = torch.where(_is_first(pairs.objects[own]), CERTAIN, LIKELY)
        outputs[pairs.predictions[own], 5 + pairs.labels[own]] = CERTAIN
        levels = torch.split(outputs.view(len(raw[0]), -1, outputs.shape[1]), [size[1:].numel() for size in sizes], 1)
        return [torch.unflatten(x, 1, size[1:]) for x, size in zip(levels, sizes, strict=True)]

    def ignore_mask(self, boxes: Tensor, outputs: Tensor, context: Context) -> Tensor:
        """Which predictions ``(B, P)`` without an object are not background either: close to an object or in a crowd.

        Args:
            boxes: predicted boxes ``(B, P, 4)``.
            outputs: network outputs ``(B, P, 5 + K)``.
            context: with targets.
        """
        return self._ignored(boxes, context.objects, self.ignore_iou)

    @torch.no_grad()
    def pairs(self, raw: list[Tensor], context: Context, extra_anchor_iou: float = 1.0) -> Assigned:
        """Assign each object to the cell of its center and there to the anchor with the greatest IoU of shapes.

        Args:
            raw: the network's output, for the sizes of its grids.
            context: with targets.
            extra_anchor_iou: anchors of any level with a greater IoU of shapes than this learn the object as well.
        """
        device = raw[0].device
        objects = context.objects
        boxes, labels, images = objects.boxes, objects.labels, len(objects.counts)
        anchors = torch.cat(self.level_anchors())
        ious = shape_iou(boxes[:, 2:] - boxes[:, :2], anchors)
        valid = ious > extra_anchor_iou
        valid.scatter_(1, ious.argmax(dim=1, keepdim=True), True)

        xy_offsets, indices, offset = [], [], 0
        centers = (boxes[:, :2] + boxes[:, 2:]) / 2
        for x, stride in zip(raw, self.strides, strict=True):
            _, count, height, width = x.shape[:4]
            in_cells = centers / stride
            column, row = in_cells[:, 0].long().clamp(0, width - 1), in_cells[:, 1].long().clamp(0, height - 1)
            xy_offsets.append((in_cells - torch.stack((column, row), dim=1))[:, None].expand(-1, count, 2))
            anchor = torch.arange(count, device=device)
            indices.append(offset + (anchor * height + row[:, None]) * width + column[:, None])
            offset += count * height * width
        predictions = torch.cat(indices, dim=1) + (objects.image_index * offset)[:, None]
        pairs = predictions.numel()
        predictions, valid, order = predictions.flatten(), valid.flatten(), torch.arange(pairs, device=device)

        # An extra element that takes the pairs that are not valid.
        owners = torch.full((images * offset + 1,), -1, device=device)
        owners.scatter_reduce_(0, torch.where(valid, predictions, len(owners) - 1), order, "amax")
        last_pair = torch.where(valid, owners[predictions], order)
        return Assigned(
            predictions=predictions,
            boxes=boxes.repeat_interleave(len(anchors), dim=0),
            labels=labels.repeat_interleave(len(anchors)),
            xy_offsets=torch.cat(xy_offsets, dim=1).reshape(pairs, 2),
            anchors=anchors.repeat(len(boxes), 1),
            valid=valid,
            is_last=valid & (last_pair == order),
            last_pair=last_pair,
            owners=owners[:-1].view(images, offset),
            objects=torch.arange(len(boxes), device=device).repeat_interleave(len(anchors)),
        )

    @torch.no_grad()
    def ignored(
        self, boxes: Tensor, targets: Sequence[Target], threshold: float, confident: Tensor | None = None
    ) -> Tensor:
        """Which predictions ``(B, P)`` without an object are not background either.

        These are close to an object, in a crowd, or in an image that is not annotated.

        Args:
            boxes: predicted boxes ``(B, P, 4)``.
            targets: ground truth of each image.
            threshold: IoU above which a prediction is close to an object.
            confident: bool ``(B, P)``, the predictions for which the IoU counts; None is all.
        """
        return self._ignored(boxes, objects_of(targets, boxes.device), threshold, confident)

    @torch.no_grad()
    def _ignored(self, boxes: Tensor, objects: Objects, threshold: float, confident: Tensor | None = None) -> Tensor:
        """As `ignored`, for the objects of the batch."""
        shape, flat = boxes.shape[:2], boxes.flatten(0, 1)
        image_index = image_indices(shape[0], shape[1], boxes.device)
        near = best_overlaps(flat, objects.boxes, objects.bounds, image_index).overlaps.view(shape) > threshold
        near = near if confident is None else near & confident
        other = not_background(flat, objects, image_index)
        return near if other is None else near | other.view(shape)


def mean_over_images(truth: Objects, box: Tensor, objectness: Tensor, classes: Tensor) -> dict[str, Tensor]:
    """``yolo_box``, ``yolo_obj`` and ``yolo_cls``: the sums of a batch, divided by its number of annotated images."""
    images = truth.annotated_images()
    return {"yolo_box": box / images, "yolo_obj": objectness / images, "yolo_cls": classes / images}


def _is_first(rows: Tensor) -> Tensor:
    """Which of `rows`, which ascend, differ from the one before."""
    return torch.cat((torch.ones_like(rows[:1], dtype=torch.bool), rows[1:] != rows[:-1]))
