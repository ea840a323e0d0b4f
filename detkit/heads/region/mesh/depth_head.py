"""The depth head: how far each object reaches along the line of sight (Mesh R-CNN, appendix, "z head").

R  regions of a batch     K  classes     B  images     N  detections of an image
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.distributed import mean_count
from detkit.heads.class_rows import ClassRows
from detkit.heads.context import Context, Regions
from detkit.heads.region.mesh.region_shapes import RegionShapes, region_shapes
from detkit.heads.region.region_branch import Crop, RegionBranch
from detkit.heads.region.region_features import TwoFullyConnected
from detkit.structures import Detections

MAX_LOG_EXTENT = math.log(1000 / 16)
"""Predictions are clamped to it before the exponential, as those of boxes are."""


class Depths(NamedTuple):
    """The output of a `DepthHead`.

    Args:
        log_extents: ``(R, K)``, for each class the logarithm of ``e f / h``: the extent e of the object along z, over
            the distance of its center, times the focal length f, over the height h of the region.
    """

    log_extents: Tensor

    def pixels(self, regions: Regions) -> Tensor:
        """``e f`` ``(R,)`` for the labels of `regions`, in pixels of the network's frame."""
        assert regions.labels is not None, "depths are predicted for detections"
        rows = torch.arange(self.log_extents.shape[0], device=self.log_extents.device)
        own = self.log_extents.float()[rows, regions.labels].clamp(max=MAX_LOG_EXTENT)
        return own.exp() * (regions.boxes[:, 3] - regions.boxes[:, 1])


class DepthHead(RegionBranch):
    """Two fully connected layers on a crop, and the object's extent along z for each class.

    It answers nothing by itself: branches after it place what they predict between the ends of the object.

    Args:
        in_channels: channels of a crop.
        num_classes: classes without background.
        resolution: height and width of a crop in cells.
        hidden: width of both layers.
    """

    learns_from = "meshes"
    asks_for = "camera"

    def __init__(self, in_channels: int, num_classes: int, resolution: int = 7, hidden: int = 1024) -> None:
        super().__init__()
        self.layers = TwoFullyConnected(in_channels, resolution, hidden)
        for layer in (self.layers.fc6, self.layers.fc7):
            _init_xavier_(layer)
        self.log_extents = nn.Linear(hidden, num_classes)
        _init_prediction_(self.log_extents)
        self.resolution = resolution

    def class_rows(self) -> Mapping[str, ClassRows]:
        """The extent of each class."""
        return {"log_extents": ClassRows(_init_prediction_)}

    def forward(self, crop: Crop, regions: Regions, so_far: Mapping[str, Any], context: Context) -> Depths:
        """The depths of the regions."""
        return Depths(self.log_extents(self.layers(crop(regions, self.resolution))))

    def losses(self, raw: Depths, regions: Regions, so_far: Mapping[str, Any], context: Context) -> dict[str, Tensor]:
        """``depth``: smooth L1 of the logarithms for the object's class, mean over the regions with a mesh.

        Raises:
            InputError: a mesh is not in front of its camera, or has no depth.
        """
        known = region_shapes(regions, context, "meshes")
        labels, _ = regions.sampled()
        log_extents = known.select(raw.log_extents).float()
        rows = torch.arange(len(known), device=log_extents.device)
        own, truth = log_extents[rows, known.select(labels)], _true_log_extents(known).to(log_extents.dtype)
        loss = F.smooth_l1_loss(own, truth, reduction="sum")
        return {"depth": loss / mean_count(len(known), loss.device) + 0 * raw.log_extents.float().sum()}

    def decode(
        self,
        raw: Depths,
        regions: Regions,
        so_far: Mapping[str, Any],
        detections: list[Detections] | None,
        context: Context,
    ) -> list[Detections]:
        """`detections` as they are: an extent alone is no answer."""
        assert detections is not None, "depths are predicted for detections"
        return detections

    def decode_padded(self, raw: Depths, regions: Regions, so_far: Mapping[str, Any], context: Context) -> PaddedDepths:
        """The extents of the detections."""
        return PaddedDepths(regions.rows_of_images(raw.pixels(regions)))

    @torch.no_grad()
    def ideal(self, regions: Regions, so_far: Mapping[str, Any], context: Context) -> Depths:
        """The depth of each region's object; see `DenseHead.ideal`."""
        labels, _ = regions.sampled()
        log_extents = regions.boxes.new_zeros(len(regions), self.log_extents.out_features)
        own = torch.where(labels >= 0)[0]
        known = region_shapes(regions[own], context, "meshes")
        log_extents[known.select(own)] = _true_log_extents(known)[:, None]
        return Depths(log_extents)


class PaddedDepths(NamedTuple):
    """The depths of a batch.

    Args:
        pixels: ``(B, N)``, ``e f`` of each detection in pixels of the network's frame, 0 where there is none.
    """

    pixels: Tensor

    def outputs(self) -> dict[str, Tensor]:
        """The tensor by its name in an exported graph."""
        return {"depths": self.pixels}


def _true_log_extents(known: RegionShapes) -> Tensor:
    """What is to be predicted for regions with meshes, ``(S,)``."""
    near, far = known.depth_ranges.unbind(1)
    heights = known.boxes[:, 3] - known.boxes[:, 1]
    return (2 * (far - near) / (far + near) * known.cameras[:, 1, 1] / heights).log()


def _init_xavier_(layer: nn.Module) -> None:
    assert isinstance(layer, nn.Linear)
    nn.init.kaiming_uniform_(layer.weight, a=1)
    nn.init.zeros_(layer.bias)


def _init_prediction_(layer: nn.Linear) -> None:
    nn.init.normal_(layer.weight, std=0.001)
    nn.init.zeros_(layer.bias)
