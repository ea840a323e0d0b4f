"""How the cameras of a batch see the camera frame, and back: x right, y down, z away from the camera.

The authors of Mesh R-CNN have x right, y up and z towards the camera (Blender's frame): y and z are negated here, which
turns the frame about x. Their normalized device coordinates, of a camera with clipping planes at 0.1 and 100, are then
those of the image's frustum with this depth range, but for the sign of y.

B  images     V  vertices of all objects     M  objects
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from detkit.geometry import moved_cameras
from detkit.heads.context import Context
from detkit.heads.known_cameras import cameras_of
from detkit.ops.meshes import from_box_frustum
from detkit.ops.meshes.voxels.box_frustum import rays_across_boxes
from detkit.preprocess import Batch
from detkit.structures import Meshes
from detkit.structures.device_transfer import to_device

CLIPPING = (0.1, 100.0)
"""Depths that become -1 and 1 as coordinates of vertices: the clipping planes of Blender's cameras."""


@dataclass(frozen=True, eq=False)
class CameraViews:
    """The cameras of the images of a batch, and the frustums that they see, cut off in depth.

    Args:
        cameras: ``(B, 3, 3)`` float32, the intrinsic matrices, in the network's frame.
        boxes: ``(B, 4)`` float32, the images without padding, in the network's frame.
        padded: (height, width) of the batch.
        depth_range: the z at which the frustums of voxels begin and end, both positive.
    """

    cameras: Tensor
    boxes: Tensor
    padded: tuple[int, int]
    depth_range: tuple[float, float]

    @classmethod
    def of(cls, context: Context, focal_length: float | None, depth_range: tuple[float, float]) -> CameraViews:
        """The views of the images of a context.

        Args:
            context: has the cameras, see `cameras_of`.
            focal_length: of the cameras that are not known, in half widths of the image; their principal point is its
                center. None: such images are refused.
            depth_range: as of the class.

        Raises:
            InputError: an image has no camera, and there is no focal length.
        """
        batch = context.batch
        sizes = batch.sizes or [batch.padded_size] * len(batch.images)
        boxes = np.array([(0, 0, width, height) for height, width in sizes], np.float32)
        device = batch.images.device
        default = None if focal_length is None else _default_cameras(batch, focal_length)
        return cls(
            cameras_of(context, default), to_device(torch.from_numpy(boxes), device), batch.padded_size, depth_range
        )

    def depth_ranges(self) -> Tensor:
        """``(B, 2)``, the depth range for each image."""
        return self.cameras.new_tensor(self.depth_range).expand(len(self.cameras), 2)

    def positions(self, meshes: Meshes) -> Tensor:
        """Vertices ``(V, 3)`` as the cameras of their images see them, differentiable; as many meshes as images.

        x and y go from -1 to 1 across the image, to the right and down, z from -1 to 1 between the `CLIPPING` planes,
        linearly in 1 / z. What is nearer than the first of them, before or behind the camera, is divided by its
        distance instead of its own, with its own sign, as the authors' projection does.
        """
        object_index, (near, far) = meshes.topology.vertex_objects, CLIPPING
        z = meshes.vertices[:, 2]
        divisor = torch.where(z < 0, -1.0, 1.0) * z.abs().clamp(min=near)
        rays = meshes.vertices[:, :2] / divisor[:, None]
        across = rays_across_boxes(rays, self.boxes[object_index], self.cameras[object_index])
        depth = ((far + near) * z - 2 * far * near) / ((far - near) * divisor)
        return torch.cat([across, depth[:, None]], dim=1)

    def on_map(self, positions: Tensor, object_index: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Where a feature map of `size` (height, width) of the padded batch has `positions`, and how much of it.

        The corners of the image are the centers of the first and the last cell that it covers. Beyond them the map goes
        to 0 within a cell, as if it were surrounded by zeros.

        Returns:
            ``(V, 2)`` as `detkit.ops.meshes.vert_align` takes it, at the image's edge for what lies outside; and
            ``(V, 1)`` in [0, 1], what the values there are multiplied by.
        """
        cells = positions.new_tensor(size[::-1])
        covered = (self.boxes[:, 2:] / self.boxes.new_tensor(self.padded[::-1]) * cells).clamp(min=1)[object_index]
        cell = (positions[:, :2] + 1) / 2 * (covered - 1)
        inside = cell.maximum(torch.zeros_like(cell)).minimum(covered - 1)
        shares = (1 - (cell - inside).abs()).clamp(min=0).prod(dim=1, keepdim=True)
        return 2 * inside / (cells - 1).clamp(min=1) - 1, shares

    def to_camera(self, meshes: Meshes) -> Meshes:
        """Meshes of the frustums of voxels, one of each image, in the camera frame."""
        vertices = from_box_frustum(
            meshes.vertices, meshes.vertex_counts, self.boxes, self.cameras, self.depth_ranges()
        )
        return meshes.with_vertices(vertices)

    def frustums(self, rows: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes, cameras and depth ranges of the images at `rows`, as `detkit.ops.meshes.to_box_frustum` takes them."""
        index = to_device(torch.tensor(rows, dtype=torch.int64), self.cameras.device)
        return self.boxes[index], self.cameras[index], self.depth_ranges()[index]


def given_cameras(views: CameraViews, batch: Batch) -> Tensor:
    """The cameras ``(B, 3, 3)`` in pixels of the images as given."""
    moved: Tensor = moved_cameras(views.cameras, [placement.inverse().matrix for placement in batch.placements])
    return moved


def _default_cameras(batch: Batch, focal_length: float) -> Tensor:
    """Cameras of square pixels whose principal point is the center of the image, on the CPU."""
    sizes = batch.given_sizes or [batch.padded_size] * len(batch.images)
    cameras = np.zeros((len(sizes), 3, 3), np.float32)
    for camera, (height, width) in zip(cameras, sizes, strict=True):
        camera[:] = (focal_length * width / 2, 0, width / 2), (0, focal_length * width / 2, height / 2), (0, 0, 1)
    if not batch.placements:
        return torch.from_numpy(cameras)
    return torch.from_numpy(moved_cameras(cameras, [placement.matrix for placement in batch.placements]))
