"""The FCOS head: each location within an object predicts the distances to its edges (Tian et al. 2019).

B  images     P  locations of a level     K  classes
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.boxes import DistanceCoder, cell_corners
from detkit.distributed import mean_count
from detkit.errors import InputError
from detkit.heads.activations import geometric_mean_of_sigmoids
from detkit.heads.assignment import CERTAIN, NOT_LEARNED, AssignedCandidates, assign_targets, labeled_boxes
from detkit.heads.class_rows import ClassRows
from detkit.heads.context import Candidates, Context
from detkit.heads.dense.dense_head import DenseHead, batch_candidates
from detkit.heads.dense.location_pairs import chunks, distances_from_centers, edges, giou_losses
from detkit.heads.dense.pyramid_decode import best_of_levels, padded_detections
from detkit.heads.dense.pyramid_layers import (
    flatten_predictions,
    init_focal_bias_,
    init_normal_,
    shared_channels,
    tower,
)
from detkit.heads.postprocess import NMS, Postprocess
from detkit.heads.scored_boxes import PaddedBoxes
from detkit.losses import binary_cross_entropy, focal_losses
from detkit.matching import BACKGROUND, FOREGROUND, IGNORED
from detkit.precise import precise
from detkit.structures import Target
from detkit.structures.device_transfer import to_device
from detkit.structures.objects import ImageBoxes, Objects, crowds_of

_NO_KEY = 2**63 - 1  # greater than that of any object; its lower half is NO_OBJECT


class FCOSOutput(NamedTuple):
    """The outputs of the network, one tensor per level; ``P = Hi * Wi`` in the order (y, x).

    Args:
        classes: logits ``(B, P, K)`` of independent classes.
        distances: ``(B, P, 4)`` to the left, top, right and bottom edge, in strides of the level.
        centerness: logits ``(B, P)``.
        locations: ``(P, 2)`` x y in pixels of the padded batch.
    """

    classes: list[Tensor]
    distances: list[Tensor]
    centerness: list[Tensor]
    locations: list[Tensor]


class FCOSHead(DenseHead):
    """Two towers, shared by all levels, classify each location and regress its distances to the edges of a box.

        level --3x3 x 4--3x3--> classes
          `-----3x3 x 4--3x3--> distances      (ReLU, in strides)
                    `----3x3--> center-ness

    Follows the authors' later improvements (Tian et al. 2020): center sampling, GIoU, center-ness on the tower of the
    distances, and distances in strides instead of a learned factor for each level.

    Args:
        in_channels: channels of each level, all the same: the levels share the head.
        strides: strides of the levels, finest first.
        num_classes: classes without background.
        range_limits: for each level but the last, the greatest distance to an edge in pixels that it learns, and the
            least of the next level (section 3.2); None is ``8 * stride``.
        center_radius: only locations closer than this to an object's center, in x and in y, learn it; in strides.
        location_offset: position of a location in its cell, as a fraction of the cell; 0 in torchvision's weights.
        convolutions: 3x3 convolutions of each tower.
        background_logit: add a last logit that learns background and is never detected, as torchvision's weights have.
        postprocess: None is `NMS` with ``score_threshold=0.2``, of the square root of class probability times
            center-ness, ``iou_threshold=0.6``, ``candidates=1000`` of each level, and ``detections=100``.

    Raises:
        InputError: the levels differ in channels, or `strides` or `range_limits` has another number of levels.
    """

    unassigned_because = (
        "no location of their level is near their center, or smaller objects have these; change range_limits"
    )
    own_values: ClassVar = {
        "postprocess": dict(
            score_threshold=0.2, iou_threshold=0.6, candidates=1000, detections=100, candidates_of="level"
        )
    }

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        num_classes: int,
        range_limits: Sequence[float] | None = None,
        center_radius: float = 1.5,
        location_offset: float = 0.5,
        convolutions: int = 4,
        background_logit: bool = False,
        postprocess: NMS | Postprocess | None = None,
    ) -> None:
        super().__init__()
        channels = shared_channels("FCOS", in_channels, strides)
        limits = list(range_limits) if range_limits is not None else [8 * stride for stride in strides[:-1]]
        if len(limits) != len(strides) - 1:
            raise InputError(f"FCOS needs range_limits between its levels with strides {list(strides)}, got {limits}")
        self.strides = list(strides)
        self.limits = [0.0, *limits, float("inf")]
        self.center_radius = center_radius
        self.location_offset = location_offset
        self.num_classes = num_classes
        self.background_logit = background_logit
        self.class_tower = tower(channels, convolutions, group_norm=True)
        self.box_tower = tower(channels, convolutions, group_norm=True)
        self.classes = init_focal_bias_(nn.Conv2d(channels, self.logits, 3, padding=1))
        self.distances = init_normal_(nn.Conv2d(channels, 4, 3, padding=1))
        self.centerness = init_normal_(nn.Conv2d(channels, 1, 3, padding=1))

        self.coder = DistanceCoder()
        self.postprocess = postprocess

    @property
    def logits(self) -> int:
        """The number of logits of a location."""
        return self.num_classes + self.background_logit

    def class_rows(self) -> Mapping[str, ClassRows]:
        """The logits of a location."""
        return {"classes": ClassRows(init_focal_bias_, after=int(self.background_logit))}

    def forward(self, features: list[Tensor], context: Context) -> FCOSOutput:
        """Classes, distances and center-ness of every location of every level."""
        classes = [flatten_predictions(self.classes(self.class_tower(x)), self.logits) for x in features]
        towers = [self.box_tower(x) for x in features]
        distances = [flatten_predictions(F.relu(self.distances(x)), 4) for x in towers]
        centerness = [flatten_predictions(self.centerness(x), 1).squeeze(-1) for x in towers]
        locations = [self._locations(x, context.batch.padded_size) for x in features]
        return FCOSOutput(classes, distances, centerness, locations)

    def _locations(self, feature: Tensor, padded_size: tuple[int, int]) -> Tensor:
        """The location ``(P, 2)`` of each cell in pixels, spread over the image as anchors are."""
        height, width = feature.shape[-2:]
        step_y, step_x = padded_size[0] // height, padded_size[1] // width
        x, y = (cell_corners((height, width), precise(feature)) + self.location_offset).unbind(dim=-1)
        return torch.stack((x * step_x, y * step_y), dim=-1).flatten(0, 1)

    def losses(self, raw: FCOSOutput, context: Context) -> dict[str, Tensor]:
        """Focal loss, GIoU loss and center-ness, each divided by the number of foreground locations in the batch.

        Returns:
            ``fcos_cls`` of all locations; ``fcos_box``, ``1 - GIoU``, and ``fcos_centerness``, the cross-entropy of
            center-ness, of foreground ones.
        """
        classes, locations = torch.cat(raw.classes, dim=1), torch.cat(raw.locations)
        objects = context.objects
        rows = self.assign(raw, context).view(classes.shape[:2])
        image, location = torch.where(rows >= 0)
        matched = rows[image, location]
        boxes, labels = objects.boxes[matched], objects.labels[matched]
        foreground = mean_count(len(location), location.device)

        distances = precise(torch.cat(raw.distances, dim=1)[image, location])
        distances = distances * _per_location(raw.locations, [[stride] for stride in self.strides])[location]
        centerness = precise(torch.cat(raw.centerness, dim=1)[image, location])
        targets = self.coder.encode(locations[location], boxes)
        sums = (
            focal_losses(classes, image, location, labels, self._not_learned(rows, objects)).sum(),
            giou_losses(distances, targets),
            binary_cross_entropy(centerness, centerness_of(targets)).sum(),
        )
        return dict(zip(("fcos_cls", "fcos_box", "fcos_centerness"), torch.stack(sums) / foreground, strict=True))

    @torch.no_grad()
    def decode_padded(self, raw: FCOSOutput, context: Context) -> PaddedBoxes:
        """The best boxes of each level, after suppression within each class."""
        best = best_of_levels(self.postprocess, raw.classes, raw.centerness, geometric_mean_of_sigmoids)
        distances = torch.cat(raw.distances, dim=1).gather(1, best.locations[..., None].expand(-1, -1, 4))
        strides = to_device(torch.from_numpy(np.repeat(self.strides, best.counts)), distances.device)
        boxes = self.coder.decode(torch.cat(raw.locations)[best.locations], distances.float() * strides[:, None])
        return padded_detections(best, boxes, self.postprocess, self.num_classes, context)

    def candidates(self, raw: FCOSOutput, context: Context) -> Candidates:
        """The boxes of all locations, with center-ness as objectness."""
        boxes = self.coder.decode(torch.cat(raw.locations), torch.cat(self._in_pixels(raw.distances), dim=1))
        logits = torch.cat(raw.classes, dim=1)[..., : self.num_classes]
        return batch_candidates(boxes, logits, torch.cat(raw.centerness, dim=1), geometric_mean_of_sigmoids)

    @torch.no_grad()
    def assign(self, raw: FCOSOutput, context: Context) -> Tensor:
        """The object that each location is to predict ``(B * P,)``, see `match` and `DenseHead.assign`."""
        objects, device = context.objects, raw.locations[0].device
        if type(self).match is not FCOSHead.match:  # one's own rule, which takes an image
            return assign_targets(context.truth, lambda target: self.match(raw.locations, target), device).flatten()
        rows, is_ignored = self._match(raw.locations, objects.located, objects.crowds)
        if is_ignored is not None:
            rows = torch.where(is_ignored & (rows < 0), NOT_LEARNED, rows)
        if objects.unannotated is not None:
            rows.masked_fill_(objects.unannotated[:, None], NOT_LEARNED)
        return rows.flatten()

    @torch.no_grad()
    def ideal(self, raw: FCOSOutput, context: Context) -> FCOSOutput:
        """Exact distances, center-ness and sure classes of the locations with an object; see `DenseHead.ideal`."""
        counts = [level.shape[1] for level in raw.classes]
        classes, distances, centerness = (torch.cat(levels, dim=1) for levels in raw[:3])
        classes, distances = classes.new_full(classes.shape, -CERTAIN), distances.new_zeros(distances.shape)
        centerness = centerness.new_full(centerness.shape, -CERTAIN)
        own = AssignedCandidates.of(self.assign(raw, context), context.objects)
        of_image = own.candidates % sum(counts)
        targets = self.coder.encode(torch.cat(raw.locations)[of_image], own.boxes)
        strides = _per_location(raw.locations, [[stride] for stride in self.strides])[of_image]
        classes.flatten(0, 1)[own.candidates, own.labels] = own.logits.to(classes)
        distances.flatten(0, 1)[own.candidates] = (targets / strides).to(distances)
        centerness.view(-1)[own.candidates] = centerness_of(targets).logit(1e-6).to(centerness)
        levels = [list(torch.split(one, counts, 1)) for one in (classes, distances, centerness)]
        return FCOSOutput(levels[0], levels[1], levels[2], raw.locations)

    @torch.no_grad()
    def match(self, locations: Sequence[Tensor], target: Target) -> tuple[Tensor, Tensor]:
        """The smallest object that contains each location near its center, on the level of its size.

        See sections 3.1 and 3.2, and for center sampling Tian et al. 2020. A location within a crowd or ignore
        region is not background.

        Args:
            locations: ``(Pi, 2)`` of each level.
            target: ground truth of the image.

        Returns:
            The object index of each location within ``target.objects()``, int64 ``(P,)`` (0 where there is no object),
            and its state, int64 ``(P,)``: `FOREGROUND`, `BACKGROUND` or `IGNORED`.
        """
        boxes, _ = labeled_boxes(target.objects())
        device = locations[0].device
        rows, is_ignored = self._match(locations, ImageBoxes.of_images([boxes], device), crowds_of([target], device))
        states = torch.full_like(rows, BACKGROUND)
        if is_ignored is not None:
            states.masked_fill_(is_ignored, IGNORED)
        states.masked_fill_(rows >= 0, FOREGROUND)
        return rows[0].clamp(min=0), states[0]

    def _match(
        self, locations: Sequence[Tensor], objects: ImageBoxes, crowds: ImageBoxes | None
    ) -> tuple[Tensor, Tensor | None]:
        """The row of each location's object, -1 where it has none, and whether it lies in a crowd; both ``(B, P)``.

        The latter is None where there are no crowds.
        """
        points = torch.cat(list(locations))
        images, device = len(objects.counts), points.device
        # The area and, below it, the row: the least of these is that of the smallest object, of equal ones the first.
        areas = (objects.boxes[:, 2:] - objects.boxes[:, :2]).float().prod(dim=1)
        keys = areas.view(torch.int32).long() << 32 | torch.arange(len(objects), device=device)
        best = keys.new_full((images, len(points)), _NO_KEY)
        limits = zip(self.limits[:-1], self.limits[1:], self.strides, strict=True)
        of_levels = [(nearest, farthest, self.center_radius * stride) for nearest, farthest, stride in limits]
        nearest, farthest, radius = _per_location(locations, of_levels).unbind(dim=1)
        for some in chunks(len(objects), len(points)):
            boxes = objects.boxes[some]
            nearest_edge, farthest_edge = edges(points, boxes)
            elsewhere = (nearest_edge <= 0) | (farthest_edge <= nearest) | (farthest_edge >= farthest)
            elsewhere |= distances_from_centers(points, boxes) >= radius
            pairs = keys[some, None].masked_fill(elsewhere, _NO_KEY)
            best.scatter_reduce_(0, objects.image_index[some, None].expand_as(pairs), pairs, "amin")
        rows = best.int().long()  # the lower half, which is NO_OBJECT in _NO_KEY
        if crowds is None:
            return rows, None
        crowded = torch.zeros_like(rows)
        for some in chunks(len(crowds), len(points)):
            nearest_edge, _ = edges(points, crowds.boxes[some])
            crowded.index_add_(0, crowds.image_index[some], (nearest_edge > 0).long())
        return rows, crowded > 0

    def _not_learned(self, rows: Tensor, objects: Objects) -> Tensor | None:
        """Which locations have no loss, of the `rows` of `assign`; None where there are surely none."""
        is_own_rule = type(self).assign is not FCOSHead.assign or type(self).match is not FCOSHead.match
        has_others = objects.crowds is not None or objects.unannotated is not None
        return rows == NOT_LEARNED if is_own_rule or has_others else None

    def _in_pixels(self, distances: Sequence[Tensor]) -> list[Tensor]:
        return [per_level.float() * stride for per_level, stride in zip(distances, self.strides, strict=True)]


def centerness_of(distances: Tensor) -> Tensor:
    """The center-ness ``(...,)`` in [0, 1] of a location with `distances` ``(..., 4)`` to the edges (eq. 3)."""
    first, second = distances[..., :2], distances[..., 2:]
    return (torch.minimum(first, second) / torch.maximum(first, second)).prod(dim=-1).sqrt()


def _per_location(locations: Sequence[Tensor], values: Sequence[Sequence[float]]) -> Tensor:
    """The V values of its level for each location ``(P, V)``."""
    levels = to_device(torch.tensor(values, dtype=torch.float32), locations[0].device)
    return torch.cat([row.expand(len(level), -1) for row, level in zip(levels, locations, strict=True)])
