"""The voxel head: which cells of the frustum behind its box each object fills (Mesh R-CNN, section 3.1).

R  regions of a batch     D, H, W  cells along z, y and x     B  images     N  detections of an image
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from detkit.distributed import mean_count
from detkit.errors import InputError
from detkit.heads.assignment import CERTAIN
from detkit.heads.class_rows import ClassRows
from detkit.heads.context import Context, Regions
from detkit.heads.region.mesh.depth_head import Depths
from detkit.heads.region.mesh.frustums import output_of, with_meshes
from detkit.heads.region.mesh.region_shapes import RegionShapes, ShapeField, error_of_object, region_shapes
from detkit.heads.region.mesh.voxel_layers import VoxelLayers
from detkit.heads.region.region_branch import Crop, RegionBranch
from detkit.ops.meshes import cubify
from detkit.structures import Detections, Meshes
from detkit.structures.meshes import true_frustum_voxels


@dataclass(frozen=True, eq=False)
class Voxels:
    """The output of a `VoxelHead`, of which a mesh head makes the meshes that it begins with.

    Args:
        logits: ``(R, D, H, W)``, near cells first, then from top to bottom and from left to right.
        threshold: the probability from which a cell is part of the cubified mesh.
    """

    logits: Tensor
    threshold: float

    def probabilities(self) -> Tensor:
        """``(R, D, H, W)`` float32 in [0, 1]."""
        return self.logits.float().sigmoid()

    @cached_property
    def cubified(self) -> Meshes:
        """The surfaces of the occupied cells, in the box-frustum frame and without gradient; see `cubify`."""
        return Meshes.of_packed(cubify(self.probabilities().detach(), self.threshold))


class VoxelHead(VoxelLayers, RegionBranch):
    """Convolutions on a crop, a deconvolution, and a channel for each layer of cells (Mesh R-CNN, section 3.1).

        (R, C, 12, 12) -> 4 x [3x3 conv, ReLU] -> 2x2 deconv, ReLU -> (R, 256, 24, 24) -> 1x1 conv -> (R, 24, 24, 24)

    All classes share the cells. After a `DepthHead`, the cubified voxels are answered as meshes too: Mesh R-CNN's
    "voxel-only" baseline, which a mesh head after it refines.

    Args:
        in_channels: channels of a crop.
        num_classes: classes without background.
        channels: channels of the hidden layers.
        convolutions: 3x3 convolutions before the deconvolution.
        batch_norm: use batch norm after each of these.
        resolution: height and width of a crop in cells; there are twice as many voxels along each axis.
        threshold: the probability from which a voxel is part of the mesh.
        truth: the field of targets to learn from: closed ``meshes``, or ``voxels`` where these are not closed.
    """

    asks_for = "camera"

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        channels: int = 256,
        convolutions: int = 4,
        batch_norm: bool = False,
        resolution: int = 12,
        threshold: float = 0.2,
        truth: ShapeField = "meshes",
    ) -> None:
        super().__init__(in_channels, 2 * resolution, channels, convolutions, batch_norm)
        self.resolution = resolution
        self.threshold = threshold
        self.truth: ShapeField = truth
        self.learns_from = truth

    def class_rows(self) -> Mapping[str, ClassRows]:
        """None: all classes share the cells."""
        return {}

    def forward(self, crop: Crop, regions: Regions, so_far: Mapping[str, Any], context: Context) -> Voxels:
        """The voxels of the regions."""
        return Voxels(self.voxel_logits(crop(regions, self.resolution)), self.threshold)

    def losses(self, raw: Voxels, regions: Regions, so_far: Mapping[str, Any], context: Context) -> dict[str, Tensor]:
        """``voxel``: binary cross-entropy, mean over the cells of all regions with a shape.

        Raises:
            InputError: a mesh is not closed, or a shape is not in front of its camera or has no depth.
        """
        known = region_shapes(regions, context, self.truth)
        logits = known.select(raw.logits).float()
        voxels = self._true_voxels(known).to(logits.dtype)
        loss = F.binary_cross_entropy_with_logits(logits, voxels, reduction="sum")
        return {"voxel": loss / mean_count(logits.numel(), logits.device) + 0 * raw.logits.float().sum()}

    def decode(
        self,
        raw: Voxels,
        regions: Regions,
        so_far: Mapping[str, Any],
        detections: list[Detections] | None,
        context: Context,
    ) -> list[Detections]:
        """The probability of each cell, and the cubified meshes where the depths of the objects are known."""
        assert detections is not None, "voxels are predicted for detections"
        own = list(torch.split(raw.probabilities(), [len(one) for one in detections]))
        back = [placement.inverse() for placement in context.batch.placements]
        own = list(Detections.kinds()["voxels"].batch_to_network(own, back, raw.logits.device))
        detections = [replace(one, voxels=value) for one, value in zip(detections, own, strict=True)]
        depths = output_of(so_far, Depths)
        if depths is None:
            return detections
        return with_meshes(detections, raw.cubified, depths.pixels(regions), regions, context)

    def decode_padded(self, raw: Voxels, regions: Regions, so_far: Mapping[str, Any], context: Context) -> PaddedVoxels:
        """The probabilities in the frustums of the boxes."""
        return PaddedVoxels(regions.rows_of_images(raw.probabilities()))

    @torch.no_grad()
    def ideal(self, regions: Regions, so_far: Mapping[str, Any], context: Context) -> Voxels:
        """The cells that each region's object fills; see `DenseHead.ideal`."""
        labels, _ = regions.sampled()
        own = torch.where(labels >= 0)[0]
        known = region_shapes(regions[own], context, self.truth)
        logits = regions.boxes.new_full((len(regions), *self._size), -CERTAIN)
        logits[known.select(own)] = torch.where(self._true_voxels(known), CERTAIN, -CERTAIN)
        return Voxels(logits, self.threshold)

    @property
    def _size(self) -> tuple[int, int, int]:
        side = 2 * self.resolution
        return side, side, side

    def _true_voxels(self, known: RegionShapes) -> Tensor:
        """The cells that the objects fill, bool ``(S, D, H, W)``."""
        ranges = known.depth_ranges
        try:
            return true_frustum_voxels(known.shapes, known.boxes, known.cameras, self._size, ranges)
        except InputError:
            for row in range(len(known)):  # one by one, to name the object
                one = slice(row, row + 1)
                try:
                    true_frustum_voxels(
                        known.shapes[one], known.boxes[one], known.cameras[one], self._size, ranges[one]
                    )
                except InputError as error:
                    raise error_of_object(known.name(row), error) from None
            raise


class PaddedVoxels(NamedTuple):
    """The voxels of a batch.

    Args:
        probabilities: of the cells in the frustum of each detection ``(B, N, D, H, W)``, 0 where there is none.
    """

    probabilities: Tensor

    def outputs(self) -> dict[str, Tensor]:
        """The tensor by its name in an exported graph."""
        return {"voxels": self.probabilities}
