"""The keypoint head: the keypoints of each detected object (Mask R-CNN, He et al. 2017, section 5).

R  regions of a batch     J  keypoints of an object     M  cells along a side of a heat map
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.distributed import mean_count
from detkit.errors import InputError
from detkit.geometry import move_points
from detkit.heads.assignment import CERTAIN
from detkit.heads.class_rows import ClassRows
from detkit.heads.context import Context, Regions
from detkit.heads.region.heat_maps import heat_map_peaks
from detkit.heads.region.region_branch import Crop, RegionBranch
from detkit.structures import Detections

_NOT_LABELED = -1  # in place of a cell


class KeypointHead(RegionBranch):
    """Convolutions on a crop and a heat map for each keypoint, trained as a softmax over its cells (section 5).

        (R, C, 14, 14) -> 8 x [3x3 conv, ReLU] -> 4x4 deconv -> (R, J, 28, 28) -> bilinear x 2 -> (R, J, 56, 56)

    Args:
        in_channels: channels of a crop.
        num_classes: classes without background; the keypoints are the same for all of them.
        num_keypoints: keypoints of an object, J.
        channels: channels of the hidden layers.
        convolutions: 3x3 convolutions before the deconvolution.
        resolution: height and width of a crop in cells; a heat map has four times as many.
    """

    learns_from = "keypoints"

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        num_keypoints: int = 17,
        channels: int = 512,
        convolutions: int = 8,
        resolution: int = 14,
    ) -> None:
        super().__init__()
        if num_keypoints < 1:
            raise InputError(f"KeypointHead needs at least one keypoint, got num_keypoints {num_keypoints}")
        widths = [in_channels] + [channels] * convolutions
        self.convolutions = nn.ModuleList(nn.Conv2d(before, after, 3, padding=1) for before, after in pairwise(widths))
        self.deconvolution = nn.ConvTranspose2d(widths[-1], num_keypoints, kernel_size=4, stride=2, padding=1)
        for layer in (*self.convolutions, self.deconvolution):
            _init_kaiming_(layer)
        self.num_keypoints = num_keypoints
        self.resolution = resolution

    def class_rows(self) -> Mapping[str, ClassRows]:
        """The heat map of each keypoint; the keypoints are the same for all classes."""
        return {"deconvolution": ClassRows(_init_kaiming_, names="keypoints")}

    def forward(self, crop: Crop, regions: Regions, so_far: Mapping[str, Any], context: Context) -> Tensor:
        """Logits ``(R, J, 4 resolution, 4 resolution)`` of the regions."""
        return self.answer(crop(regions, self.resolution))

    def answer(self, region_features: Tensor) -> Tensor:
        """Logits ``(R, J, 4 resolution, 4 resolution)`` of the crops ``(R, C, resolution, resolution)``."""
        hidden = region_features
        for convolution in self.convolutions:
            hidden = F.relu(convolution(hidden))
        return F.interpolate(self.deconvolution(hidden), scale_factor=2, mode="bilinear", align_corners=False)

    def losses(self, raw: Tensor, regions: Regions, so_far: Mapping[str, Any], context: Context) -> dict[str, Tensor]:
        """``keypoint``: cross-entropy over the cells of a heat map, mean over the labeled keypoints in the regions.

        Raises:
            InputError: a target has another number of keypoints.
        """
        _, matched = regions.sampled()
        keypoints = self._keypoints(context)[matched]
        cells, labeled = keypoint_cells(keypoints, regions.boxes, raw.shape[-1])
        logits, cells = raw.flatten(0, 1).flatten(1).float(), cells.masked_fill(~labeled, _NOT_LABELED).flatten()
        loss = F.cross_entropy(logits, cells, ignore_index=_NOT_LABELED, reduction="sum")
        return {"keypoint": loss / mean_count(labeled.sum()) + 0 * raw.float().sum()}

    def decode(
        self,
        raw: Tensor,
        regions: Regions,
        so_far: Mapping[str, Any],
        detections: list[Detections] | None,
        context: Context,
    ) -> list[Detections]:
        """The peak of each heat map, as ``x y`` in the image and its logit."""
        assert detections is not None, "keypoints are predicted for detections"
        counts = [len(per_image) for per_image in detections]
        peaks = heat_map_peaks(raw.float(), regions.boxes)
        back = [placement.inverse() for placement in context.batch.placements]
        points = move_points(peaks[..., :2] + regions.boxes[:, None, :2], counts, back)
        keypoints = torch.split(torch.cat((points, peaks[..., 2:]), dim=-1), counts)
        return [replace(one, keypoints=own) for one, own in zip(detections, keypoints, strict=True)]

    def decode_padded(
        self, raw: Tensor, regions: Regions, so_far: Mapping[str, Any], context: Context
    ) -> PaddedKeypoints:
        """The peak of each heat map in the network's frame, and its logit."""
        peaks = heat_map_peaks(raw.float(), regions.boxes)
        corners = F.pad(regions.boxes[:, None, :2], (0, 1))
        return PaddedKeypoints(regions.rows_of_images(peaks + corners))

    @torch.no_grad()
    def ideal(self, regions: Regions, so_far: Mapping[str, Any], context: Context) -> Tensor:
        """A round peak in the cell of each keypoint, or in the nearest to it; see `DenseHead.ideal`.

        A lone cell would be lost where a heat map is made smaller for a small box.
        """
        labels, matched = regions.sampled()
        side = 4 * self.resolution
        own = torch.where(labels >= 0)[0]
        boxes, points = regions.boxes[own], self._keypoints(context)[matched[own]].clone()
        points[..., :2] = points[..., :2].maximum(boxes[:, None, :2]).minimum(boxes[:, None, 2:])
        cells, _ = keypoint_cells(points, boxes, side)
        steps = torch.arange(side, device=cells.device)
        x, y = (cells % side)[..., None, None] - steps, (cells // side)[..., None, None] - steps[:, None]
        heat_maps = boxes.new_full((len(regions), self.num_keypoints, side, side), -CERTAIN)
        heat_maps[own] = CERTAIN - (x.square() + y.square()).to(boxes)
        return heat_maps

    def _keypoints(self, context: Context) -> Tensor:
        """The keypoints ``(T, J, 3)`` of the objects of all images; zeros, which are not labeled, where they lack."""
        boxes, keypoints = context.objects.boxes, []
        for target, count in zip(context.truth, context.objects.counts, strict=True):
            own = target.objects().keypoints
            if own is None or count == 0:
                keypoints.append(boxes.new_zeros(count, self.num_keypoints, 3))
            else:
                self._check_count(own, target.image_id)
                keypoints.append(own)
        return torch.cat(keypoints)

    def _check_count(self, keypoints: Tensor, image_id: Any) -> None:
        if keypoints.shape[1] != self.num_keypoints:
            raise InputError(
                f"image id {image_id}: its objects have {keypoints.shape[1]} keypoints, but the model "
                f"has {self.num_keypoints}; set num_keypoints of KeypointHead"
            )


class PaddedKeypoints(NamedTuple):
    """The keypoints of a batch.

    Args:
        keypoints: of each detection ``(B, N, J, 3)``, `x y` in pixels and a logit; 0 where there is none.
    """

    keypoints: Tensor

    def outputs(self) -> dict[str, Tensor]:
        """The tensor by its name in an exported graph."""
        return {"keypoints": self.keypoints}


def keypoint_cells(keypoints: Tensor, boxes: Tensor, resolution: int) -> tuple[Tensor, Tensor]:
    """Keypoint targets: the cell of its box in which each keypoint lies.

    A point on the right or lower edge of the box belongs to the last cell.

    Args:
        keypoints: ``(R, J, 3)``, ``x y visibility`` in pixels.
        boxes: ``(R, 4)``.
        resolution: cells along each side of a box.

    Returns:
        int64 ``(R, J)``, ``y * resolution + x``, and bool ``(R, J)``, which keypoints are labeled and in their box.
    """
    sizes = boxes[:, None, 2:] - boxes[:, None, :2]
    cells = ((keypoints[..., :2] - boxes[:, None, :2]) * (resolution / sizes)).floor()
    cells = torch.where(keypoints[..., :2] == boxes[:, None, 2:], resolution - 1, cells)
    inside = ((cells >= 0) & (cells < resolution)).all(dim=-1)
    cells = torch.where(inside[..., None], cells, 0).to(torch.int64)
    return cells[..., 1] * resolution + cells[..., 0], inside & (keypoints[..., 2] > 0)


def _init_kaiming_(layer: nn.Conv2d | nn.ConvTranspose2d) -> None:
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
