"""FCOS: no anchors; every location within an object says how far its edges are (Tian et al. 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.boxes import DistanceCoder, box_area, cell_corners
from detkit.distributed import mean_count
from detkit.errors import InputError
from detkit.heads.activations import root_of_sigmoids
from detkit.heads.context import Candidates, Context
from detkit.heads.dense.dense_head import DenseHead, in_turn
from detkit.heads.dense.levels import detections_of_levels, per_place, rare, shared_channels, small, tower
from detkit.heads.postprocess import NMS, Postprocess, Scored
from detkit.heads.truth import NOT_LEARNED, assigned
from detkit.losses import focal_losses
from detkit.matching import BACKGROUND, FOREGROUND, IGNORED
from detkit.ops.iou import paired_iou
from detkit.structures import Detections, Target


class FCOSOutput(NamedTuple):
    """What the network says, one tensor per level; ``P = Hi * Wi`` in the order (y, x).

    Args:
        classes: logits ``(B, P, K)``, each class a question of its own.
        distances: ``(B, P, 4)`` from the left, top, right and bottom edge, in strides of the level.
        centerness: logits ``(B, P)``.
        locations: ``(P, 2)`` x y in pixels of the padded batch.
    """

    classes: list[Tensor]
    distances: list[Tensor]
    centerness: list[Tensor]
    locations: list[Tensor]


class FCOSHead(DenseHead):
    """Two towers, shared by all levels, classify each location and measure its distances from a box's edges.

        level --3x3 x 4--3x3--> classes
          `-----3x3 x 4--3x3--> distances      (ReLU, in strides)
                    `----3x3--> center-ness

    Follows the authors' later improvements (Tian et al. 2020): center sampling, GIoU, center-ness beside the distances,
    which are in strides in place of a learned factor for each level.

    Args:
        in_channels: channels of each level, all the same: the levels share the head.
        strides: strides of the levels, finest first.
        num_classes: classes without background.
        range_limits: of each level but the last, the distance in pixels from which on an edge is too far for it and
            which is too near for the next one (section 3.2); nothing means ``8 * stride``.
        center_radius: an object is learned by locations closer than so many strides to its center, in x and in y.
        location_offset: where in its cell a location lies, in parts of the cell; 0 in torchvision's weights.
        convolutions: 3x3 convolutions of each tower.
        background_logit: have a last logit that learns to say no everywhere and is never detected, as torchvision's
            weights have.
        postprocess: `NMS` if not given; here ``score_threshold=0.2``, of the square root of class probability times
            center-ness, ``iou_threshold=0.6, candidates=1000``, of each level, and ``detections=100``.

    Raises:
        InputError: the levels differ in channels, or `strides` or `range_limits` has another number of levels.
    """

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
        self.logits = num_classes + background_logit
        self.class_tower = tower(channels, convolutions, group_norm=True)
        self.box_tower = tower(channels, convolutions, group_norm=True)
        self.classes = rare(nn.Conv2d(channels, self.logits, 3, padding=1))
        self.distances = small(nn.Conv2d(channels, 4, 3, padding=1))
        self.centerness = small(nn.Conv2d(channels, 1, 3, padding=1))

        self.coder = DistanceCoder()
        self.postprocess = postprocess

    def forward(self, features: list[Tensor], context: Context) -> FCOSOutput:
        """Classes, distances and center-ness of every location of every level."""
        classes = [per_place(self.classes(self.class_tower(x)), self.logits) for x in features]
        towers = [self.box_tower(x) for x in features]
        distances = [per_place(F.relu(self.distances(x)), 4) for x in towers]
        centerness = [per_place(self.centerness(x), 1).squeeze(-1) for x in towers]
        locations = [self._locations(x, context.batch.padded_size) for x in features]
        return FCOSOutput(classes, distances, centerness, locations)

    def _locations(self, feature: Tensor, padded_size: tuple[int, int]) -> Tensor:
        """One location ``(P, 2)`` in each cell, spread over the image as anchors are."""
        height, width = feature.shape[-2:]
        step_y, step_x = padded_size[0] // height, padded_size[1] // width
        x, y = (cell_corners((height, width), feature.float()) + self.location_offset).unbind(dim=-1)
        return torch.stack((x * step_x, y * step_y), dim=-1).flatten(0, 1)

    def losses(self, raw: FCOSOutput, context: Context) -> dict[str, Tensor]:
        """``fcos_cls``, the focal loss of all locations; ``fcos_box``, ``1 - GIoU``, and ``fcos_centerness``, the
        cross-entropy of center-ness, of foreground ones. Each is summed and divided by their number in the batch.
        """
        classes, locations = torch.cat(raw.classes, dim=1), torch.cat(raw.locations)
        objects = context.objects
        rows = self.assign(raw, context).view(classes.shape[:2])
        image, place = torch.where(rows >= 0)
        boxes, labels = (part[rows[image, place]] for part in objects)
        foreground = mean_count(len(place), place.device)

        distances = torch.cat(self._in_pixels(raw.distances), dim=1)[image, place]
        overlap = paired_iou(self.coder.decode(locations[place], distances), boxes, "giou")
        centerness = torch.cat(raw.centerness, dim=1)[image, place].float()
        wanted = centerness_of(self.coder.encode(locations[place], boxes))
        return {
            "fcos_cls": focal_losses(classes, image, place, labels, rows == NOT_LEARNED).sum() / foreground,
            "fcos_box": (1 - overlap).sum() / foreground,
            "fcos_centerness": F.binary_cross_entropy_with_logits(centerness, wanted, reduction="sum") / foreground,
        }

    @torch.no_grad()
    def decode(self, raw: FCOSOutput, context: Context) -> list[Detections]:
        """The best boxes of each level, after suppression within each class."""
        levels = zip(raw.classes, self._in_pixels(raw.distances), raw.centerness, raw.locations, strict=True)
        parts = []
        for classes, distances, centerness, locations in levels:
            scores = (classes.float().sigmoid() * centerness.float().sigmoid()[..., None]).sqrt()
            image, place, labels, scores = self.postprocess.likeliest(scores)
            parts.append(Scored(self.coder.decode(locations[place], distances[image, place]), scores, labels, image))
        return detections_of_levels(parts, self.postprocess, self.num_classes, context)

    def candidates(self, raw: FCOSOutput, context: Context) -> Candidates:
        """The boxes of all locations; the objectness is center-ness."""
        boxes = self.coder.decode(torch.cat(raw.locations), torch.cat(self._in_pixels(raw.distances), dim=1))
        logits = torch.cat(raw.classes, dim=1)[..., : self.num_classes]
        return in_turn(boxes, logits, torch.cat(raw.centerness, dim=1), root_of_sigmoids)

    @torch.no_grad()
    def assign(self, raw: FCOSOutput, context: Context) -> Tensor:
        """Which object each location is to find ``(B * P,)``, see `match` and `DenseHead.assign`."""
        device = raw.locations[0].device
        return assigned(context.truth, lambda target: self.match(raw.locations, target), device).flatten()

    @torch.no_grad()
    def match(self, locations: Sequence[Tensor], target: Target) -> tuple[Tensor, Tensor]:
        """Which object each location is to find: of those it lies in, near the center and at its level's distances
        from the edges, the one of the smallest area (section 3.1 and 3.2).

        A location within a crowd or ignore region is not background.

        Args:
            locations: ``(Pi, 2)`` of each level.
            target: ground truth of the image.

        Returns:
            The object index of each location within ``target.objects()``, int64 ``(P,)`` (0 where there is no object),
            and its state, int64 ``(P,)``: `FOREGROUND`, `BACKGROUND` or `IGNORED`.
        """
        boxes, places = target.objects().boxes, torch.cat(list(locations))
        indices = torch.zeros(len(places), dtype=torch.int64, device=places.device)
        states = torch.full_like(indices, BACKGROUND)
        if len(boxes):
            radius = _of_places(locations, [self.center_radius * stride for stride in self.strides])
            nearest, farthest = _of_places(locations, self.limits[:-1]), _of_places(locations, self.limits[1:])
            distances = self.coder.encode(places[:, None], boxes)
            reach = distances.amax(dim=-1)
            responsible = (distances.amin(dim=-1) > 0) & (reach > nearest) & (reach < farthest)
            from_center = (places[:, None] - (boxes[:, :2] + boxes[:, 2:]) / 2).abs().amax(dim=-1)
            responsible &= from_center < radius
            area, indices = torch.where(responsible, box_area(boxes), torch.inf).min(dim=1)
            states.masked_fill_(area < torch.inf, FOREGROUND)
        ignored = target.ignored_boxes()
        if len(ignored):
            inside = (self.coder.encode(places[:, None], ignored).amin(dim=-1) > 0).any(dim=1)
            states.masked_fill_(inside & (states == BACKGROUND), IGNORED)
        return indices, states

    def _in_pixels(self, distances: Sequence[Tensor]) -> list[Tensor]:
        return [of_level.float() * stride for of_level, stride in zip(distances, self.strides, strict=True)]


def centerness_of(distances: Tensor) -> Tensor:
    """How near the middle of a box a location is, in [0, 1] ``(...,)``, of its `distances` ``(..., 4)`` (eq. 3)."""
    first, second = distances[..., :2], distances[..., 2:]
    return (torch.minimum(first, second) / torch.maximum(first, second)).prod(dim=-1).sqrt()


def _of_places(locations: Sequence[Tensor], values: Sequence[float]) -> Tensor:
    """For each location the value of its level ``(P, 1)``."""
    return torch.cat(
        [of_level.new_full((len(of_level), 1), value) for of_level, value in zip(locations, values, strict=True)]
    )
