"""The voxels of the one object of an image, in the frustum of the whole image (Mesh R-CNN, Gkioxari et al. 2019).

B  images     V  voxels along a side
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from detkit.distributed import mean_count
from detkit.errors import InputError
from detkit.heads.context import Context
from detkit.heads.image.shape.camera_views import CameraViews
from detkit.heads.image.shape.single_objects import joined, rows_with
from detkit.heads.region.mesh.region_shapes import ShapeField, error_of_object
from detkit.heads.region.mesh.voxel_layers import VoxelLayers
from detkit.heads.scored_boxes import Sizes
from detkit.ops.meshes import cubify
from detkit.precise import precise
from detkit.structures import Meshes, PointClouds, Target
from detkit.structures.device_transfer import to_device
from detkit.structures.meshes import true_voxels_between


class ImageVoxelHead(VoxelLayers):
    """A grid of voxels for each image (Mesh R-CNN, section 4.1; layers as of figure 2, "voxel branch").

        coarsest map -> resized to V/2 x V/2 -> 4 x [3x3 conv, ReLU] -> 2x2 deconv, ReLU -> 1x1 conv, V depth channels

    A part of `ShapeNetMeshRCNN`, which knows the cameras: no `ImageHead`, and `check_head` takes none.

    Args:
        in_channels: channels of the coarsest map.
        voxels: V, an even number of voxels along each side.
        channels: of the hidden layers.
        convolutions: 3x3 convolutions before the deconvolution.
        threshold: voxels of at least this probability are occupied.
        truth: the field of targets to learn from: ``voxels``, or closed ``meshes``.

    Raises:
        InputError: `voxels` is odd or below 4.
    """

    def __init__(
        self,
        in_channels: int,
        voxels: int = 48,
        channels: int = 256,
        convolutions: int = 4,
        threshold: float = 0.2,
        truth: ShapeField = "voxels",
    ) -> None:
        if voxels < 4 or voxels % 2:
            raise InputError(f"voxels must be an even number of at least 4, got {voxels}")
        super().__init__(in_channels, voxels, channels, convolutions)
        self.voxels = voxels
        self.threshold = threshold
        self.truth: ShapeField = truth
        self.learns_from = truth

    def forward(self, coarsest: Tensor, context: Context) -> Tensor:
        """Voxel logits ``(B, V, V, V)`` of the coarsest map ``(B, C, H, W)``, near ones first."""
        return self.voxel_logits(self._of_image(coarsest, context))

    def _of_image(self, coarsest: Tensor, context: Context) -> Tensor:
        """The part of the map that shows the image, without padding, resized."""
        side, (height, width) = self.voxels // 2, context.batch.padded_size
        sizes: Sizes = context.batch.sizes  # in an exported graph a tensor
        if not isinstance(sizes, Tensor):
            if all(size == (height, width) for size in sizes):
                return F.interpolate(coarsest, size=(side, side), mode="bilinear", align_corners=False)
            sizes = to_device(torch.tensor(sizes), coarsest.device)
        shares = sizes.flip(1).to(coarsest.dtype) / coarsest.new_tensor((width, height))
        centers = (torch.arange(side, device=coarsest.device, dtype=coarsest.dtype) + 0.5) / side
        grid = torch.stack((centers.expand(side, side), centers[:, None].expand(side, side)), dim=-1)
        covered = 2 * grid * shares[:, None, None] - 1
        return F.grid_sample(coarsest, covered, padding_mode="border", align_corners=False)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Of being occupied, ``(B, V, V, V)`` float32."""
        return precise(logits).sigmoid()

    @torch.no_grad()
    def surfaces(self, probabilities: Tensor) -> Meshes:
        """The surfaces of the occupied voxels of each image, in the frustum of the voxels.

        Where none is occupied it is that of the central half of the grid, so that there are vertices to move.
        """
        is_empty = ~(probabilities >= self.threshold).flatten(1).any(dim=1)
        start, side = self.voxels // 4, self.voxels // 2
        center = torch.zeros_like(probabilities[0], dtype=torch.bool)
        center[start : start + side, start : start + side, start : start + side] = True
        packed = cubify(probabilities.masked_fill(is_empty[:, None, None, None] & center, 1.0), self.threshold)
        return Meshes.of_packed(packed)

    def losses(self, logits: Tensor, context: Context, views: CameraViews) -> dict[str, Tensor]:
        """``voxel``: binary cross-entropy, mean over the cells of the images whose object has a shape.

        Raises:
            InputError: an image has several objects, a mesh is not closed, or an object lies outside of the frustum.
        """
        rows = rows_with(context.truth, self.truth)
        chosen = precise(logits)[to_device(torch.tensor(rows, dtype=torch.int64), logits.device)]
        attached = 0 * precise(logits).sum()
        if not rows:
            return {"voxel": attached}
        truth = self._true_voxels(context.truth, rows, views).to(chosen.dtype)
        loss = F.binary_cross_entropy_with_logits(chosen, truth, reduction="sum")
        return {"voxel": loss / mean_count(chosen.numel(), logits.device) + attached}

    @torch.no_grad()
    def _true_voxels(self, targets: Sequence[Target], rows: Sequence[int], views: CameraViews) -> Tensor:
        """The voxels that the objects of the images at `rows` fill, ``(n, V, V, V)`` bool."""
        shapes: Meshes | PointClouds
        if self.truth == "voxels":
            shapes = joined(PointClouds, targets, "voxels", rows)
        else:
            shapes = joined(Meshes, targets, "meshes", rows)
        size = (self.voxels, self.voxels, self.voxels)
        try:
            voxels = true_voxels_between(shapes, *views.frustums(rows), size)
        except InputError as error:
            if len(rows) > 1:
                for row in rows:  # one by one, to name the image
                    self._true_voxels(targets, [row], views)
            raise error_of_object(f"image id {targets[rows[0]].image_id!r}", error) from None
        is_outside: list[bool] = (~voxels.flatten(1).any(dim=1)).tolist()
        if any(is_outside):
            near, far = views.depth_range
            image_id = targets[rows[is_outside.index(True)]].image_id
            raise InputError(
                f"image id {image_id!r}: no voxel of its object lies in the image at a depth z of {near:g} to {far:g}, "
                "so there is nothing to learn: give the model the depth_range of the data, or leave the image out"
            )
        return voxels
