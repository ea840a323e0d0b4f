"""The mesh of the one object of an image, refined by the maps of the whole image (Mesh R-CNN, Gkioxari et al. 2019).

B  images     V  vertices of all objects
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from detkit.heads.context import Context
from detkit.heads.image.shape.camera_views import CameraViews
from detkit.heads.image.shape.single_objects import joined, rows_with
from detkit.heads.region.mesh.refinement import Aligned, MeshRefinement, through
from detkit.heads.region.mesh.shape_losses import LOSSES, generator_on, shape_losses
from detkit.ops.meshes import vert_align
from detkit.structures import Meshes


class ImageMeshHead(nn.Module):
    """Stages that move the vertices of a mesh by what all maps of the backbone show there (Mesh R-CNN, section 4.1).

    A stage reads each map where the camera sees a vertex, and moves the vertex in the camera frame, by less than 1 of
    the data's units along each axis.

    A part of `ShapeNetMeshRCNN`, which has the meshes to begin with: no `ImageHead`, and `check_head` takes none.

    Args:
        in_channels: channels of the maps.
        channels: of the hidden layers.
        stages: how many.
        convolutions: graph convolutions of a stage.
        subdivide: make four faces of each between the stages, as of Pixel2Mesh+.
        samples: points that losses draw of each predicted and each true surface.
    """

    learns_from = "meshes"

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int = 128,
        stages: int = 3,
        convolutions: int = 3,
        subdivide: bool = False,
        samples: int = 5000,
    ) -> None:
        super().__init__()
        self.refinement = MeshRefinement(sum(in_channels), channels, stages, convolutions, subdivide)
        self.samples = samples

    def forward(self, features: Sequence[Tensor], meshes: Meshes, views: CameraViews) -> list[Meshes]:
        """The meshes of the images after each stage, in the camera frame.

        Args:
            features: maps of the images.
            meshes: to begin with, one of each image, in the camera frame.
            views: the cameras of the images.
        """

        def align(current: Meshes, layer: nn.Linear) -> Aligned:
            positions, object_index = views.positions(current), current.topology.vertex_objects
            seen, first = [], 0
            for one in features:
                locations, shares = views.on_map(positions, object_index, (one.shape[2], one.shape[3]))
                seen.append(vert_align(through(layer, one, first), locations, object_index) * shares.to(one.dtype))
                first += one.shape[1]
            return Aligned(torch.stack(seen).sum(dim=0) + layer.bias, positions)

        stages: list[Meshes] = self.refinement(meshes, align)
        return stages

    def losses(self, stages: Sequence[Meshes], context: Context) -> dict[str, Tensor]:
        """``mesh.chamfer``, ``mesh.normals`` and ``mesh.edge``, see `shape_losses`, means over the stages.

        Raises:
            InputError: an image has several objects.
        """
        rows = rows_with(context.truth, "meshes")
        attached = torch.stack([0 * meshes.vertices.sum() for meshes in stages]).sum()
        if not rows:
            return {f"mesh.{name}": attached for name in LOSSES}
        generator = generator_on(attached.device, context.generator)
        truth = joined(Meshes, context.truth, "meshes", rows).sample_points(self.samples, generator)
        chosen = [meshes if len(rows) == len(meshes) else meshes[rows] for meshes in stages]
        totals = shape_losses(chosen, truth, self.samples, generator)
        return {f"mesh.{name}": total / len(stages) + attached for name, total in totals.items()}
