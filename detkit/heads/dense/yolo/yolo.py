"""What the heads of YOLOv2, v3 and v4 have in common: anchors in grid cells, who is to find what, and decoding.

    P  predictions of an image over all levels, each level in the order (anchor, y, x)
    T  objects of a batch, crowds included     M  pairs of an object and a prediction that is to find it

Beside each other, v2 to v4 are a list of changes: see `losses` in yolo_v2.py, yolo_v3.py and yolo_v4.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from detkit.anchors import shape_iou
from detkit.boxes import CellCoder
from detkit.errors import InputError
from detkit.heads.context import Candidates, Context
from detkit.heads.dense.dense_head import DenseHead, in_turn
from detkit.heads.postprocess import NMS, Postprocess
from detkit.heads.truth import NO_OBJECT, NOT_LEARNED, annotated, count_annotated, crowds, in_crowd
from detkit.ops import box_iou
from detkit.structures import Detections, Target

Anchors = Sequence[Sequence[tuple[float, float]]]


class Assigned(NamedTuple):
    """The M pairs of an object and a prediction. Sizes depend on the number of objects alone: nothing waits for a GPU.

    Args:
        predictions: ``(M,)`` int64, which of the ``B * P``.
        boxes: ``(M, 4)`` of the objects, in pixels.
        labels: ``(M,)`` of the objects.
        places: ``(M, 2)`` the object's center within its cell, in [0, 1].
        anchors: ``(M, 2)`` of the predictions, in pixels.
        valid: ``(M,)`` bool, false where a pair does not count.
        last: ``(M,)`` bool, the last valid pair of each prediction that has one: darknet lets the last object win.
        leaders: ``(M,)`` int64, the last pair of the same prediction.
        owners: ``(B, P)`` int64, the last valid pair of each prediction, -1 where there is none.
        objects: ``(M,)`` int64, the object's row among those of the batch, see `DenseHead.assign`.
    """

    predictions: Tensor
    boxes: Tensor
    labels: Tensor
    places: Tensor
    anchors: Tensor
    valid: Tensor
    last: Tensor
    leaders: Tensor
    owners: Tensor
    objects: Tensor

    @property
    def positive(self) -> Tensor:
        """Which predictions have an object, bool ``(B, P)``."""
        return self.owners >= 0

    @property
    def images(self) -> Tensor:
        """The image of each pair ``(M,)``."""
        return self.predictions // self.owners.shape[1]

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
        ignore_iou: predictions closer to an object than this are not background.
        scale_x_y: see `CellCoder`, for each map; nothing means 1.
        new_coords: see `CellCoder`.
        postprocess: `NMS` if not given; here ``score_threshold=0.005, iou_threshold=0.45, candidates=2000,
            detections=100``. Boxes are suppressed before they are cut at the edges of the image, as darknet does.

    Raises:
        InputError: channels, strides, anchors and scale_x_y are not as many.
    """

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
        self.predict = nn.ModuleList(
            nn.Conv2d(channels, count * (5 + num_classes), 1)
            for channels, count in zip(in_channels, self.anchors_per_cell, strict=True)
        )
        for conv in self.predict:
            nn.init.normal_(conv.weight, std=0.01)
            nn.init.zeros_(conv.bias)
            conv.bias.data.view(-1, 5 + num_classes)[:, 4] = -4.6  # objects are rare: 1 % (Lin 2017, section 3.3)

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
    def decode(self, raw: list[Tensor], context: Context) -> list[Detections]:
        """Boxes whose objectness times class probability is high enough, after suppression within each class."""
        boxes, outputs = self.boxes(raw), flattened(raw)
        objectness = outputs[..., 4].sigmoid()
        # Most predictions are dropped before their classes are looked at: a class is at most as likely.
        image, place = torch.where(self.postprocess.passes(objectness))
        scores = objectness[image, place, None] * self.class_scores(outputs[image, place, 5:])
        bounds = torch.searchsorted(image, torch.arange(len(boxes) + 1, device=boxes.device))
        likely = torch.where(self.postprocess.passes(scores.flatten()))[0]
        row, labels, scores = self.postprocess.best(likely, scores.flatten()[likely], bounds, self.num_classes)
        image, place = image[row], place[row]
        found = self.postprocess.suppressed(boxes[image, place], scores, labels, image, context.batch.sizes)
        return context.batch.restore(found)

    def candidates(self, raw: list[Tensor], context: Context) -> Candidates:
        """The boxes of all predictions."""
        outputs = flattened(raw)
        return in_turn(self.boxes(raw), outputs[..., 5:], outputs[..., 4], self._scores)

    def _scores(self, logits: Tensor, objectness: Tensor | None) -> Tensor:
        assert objectness is not None
        return objectness.sigmoid()[:, None] * self.class_scores(logits)

    @torch.no_grad()
    def assign(self, raw: list[Tensor], context: Context) -> Tensor:
        """Which object each prediction is to find ``(B * P,)``: of several the last; see `DenseHead.assign`."""
        pairs = self.pairs(raw, context)
        none = torch.where(self.excused(self.boxes(raw), flattened(raw), context), NOT_LEARNED, NO_OBJECT)
        # One row more, for predictions without a pair.
        objects = torch.cat((pairs.objects, pairs.objects[:1] if len(pairs.objects) else none.new_zeros(1)))
        return torch.where(pairs.positive, objects[pairs.owners], none).flatten()

    def excused(self, boxes: Tensor, outputs: Tensor, context: Context) -> Tensor:
        """Which predictions ``(B, P)`` are no background though they have no object: close to one, or in a crowd.

        Args:
            boxes: ``(B, P, 4)``, predicted.
            outputs: ``(B, P, 5 + K)``, of the network.
            context: with targets.
        """
        return self.ignored(boxes, context.truth, self.ignore_iou)

    @torch.no_grad()
    def pairs(self, raw: list[Tensor], context: Context, further_iou: float = 1.0) -> Assigned:
        """Each object goes to the cell of its center and there to the anchor whose shape is most like its own.

        Args:
            raw: the network's output, for the sizes of its grids.
            context: with targets.
            further_iou: anchors of any level with a greater IoU of shapes than this get the object as well.
        """
        device = raw[0].device
        targets = annotated(context.truth, device)
        boxes = torch.cat([target.boxes for target in targets])
        image = torch.cat([torch.full_like(target.labels, index) for index, target in enumerate(targets)])
        anchors = torch.cat(self.level_anchors())
        likeness = shape_iou(boxes[:, 2:] - boxes[:, :2], anchors)
        valid = likeness > further_iou
        valid.scatter_(1, likeness.argmax(dim=1, keepdim=True), True)
        counts = ~torch.cat([crowds(target) for target in targets])
        valid &= counts[:, None]

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
            owners=owners[:-1].view(len(targets), offset),
            objects=(counts.cumsum(dim=0) - 1).repeat_interleave(len(anchors)),
        )

    @torch.no_grad()
    def ignored(
        self, boxes: Tensor, targets: Sequence[Target], threshold: float, confident: Tensor | None = None
    ) -> Tensor:
        """Which predictions ``(B, P)`` are no background though they have no object: close to one, in a crowd, or in
        an image that is not annotated.

        Args:
            boxes: predicted boxes ``(B, P, 4)``.
            targets: ground truth of each image.
            threshold: IoU above which a prediction is close to an object.
            confident: ``(B, P)`` bool, those that IoU can excuse; all if not given.
        """
        near = torch.zeros(boxes.shape[:2], dtype=torch.bool, device=boxes.device)
        inside = near.clone()
        for image, target in enumerate(targets):
            if target.boxes is None:
                inside[image] = True
            elif len(target):
                near[image] = ((box_iou(boxes[image], target.boxes) > threshold) & ~crowds(target)).any(dim=1)
                inside[image] = in_crowd(boxes[image], target)
        return inside | (near if confident is None else near & confident)


def of_images(targets: Sequence[Target], box: Tensor, objectness: Tensor, classes: Tensor) -> dict[str, Tensor]:
    """``yolo_box``, ``yolo_obj`` and ``yolo_cls``: the sums of a batch over its annotated images."""
    images = count_annotated(targets)
    return {"yolo_box": box / images, "yolo_obj": objectness / images, "yolo_cls": classes / images}


def per_anchor(x: Tensor, anchors: int) -> Tensor:
    """``(B, A * values, H, W)`` as ``(B, A, H, W, values)``."""
    return x.unflatten(1, (anchors, -1)).permute(0, 1, 3, 4, 2)


def flattened(raw: Sequence[Tensor]) -> Tensor:
    """The outputs of all levels ``(B, P, values)``, float32 under autocast too."""
    return torch.cat([x.float().flatten(1, 3) for x in raw], dim=1)
