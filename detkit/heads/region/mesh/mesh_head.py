"""The mesh head: the surface of each object, refined in stages (Mesh R-CNN, section 3.2).

R  regions of a batch     V  vertices of all objects     B  images
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from detkit.errors import InputError
from detkit.heads.context import Context, Regions
from detkit.heads.region.mesh.depth_head import Depths
from detkit.heads.region.mesh.frustums import output_of, with_meshes
from detkit.heads.region.mesh.ignored_steps import IgnoredSteps
from detkit.heads.region.mesh.refinement import Aligned, MeshRefinement, through
from detkit.heads.region.mesh.region_shapes import RegionShapes, region_shapes
from detkit.heads.region.mesh.shape_losses import LOSSES, generator_on, shape_losses
from detkit.heads.region.mesh.voxel_head import Voxels
from detkit.heads.region.region_branch import Crop, RegionBranch
from detkit.ops import is_exporting
from detkit.ops.meshes import SurfacePoints, to_box_frustum, vert_align
from detkit.structures import Detections, Meshes
from detkit.structures.meshes import Topology, icosphere


class RefinedMeshes(NamedTuple):
    """The output of a `MeshHead`: the meshes of R regions after each stage, in the box-frustum frame.

    Args:
        vertices: ``(V, 3)`` of each stage, packed.
        topologies: of each stage.
    """

    vertices: Sequence[Tensor]
    topologies: Sequence[Topology]

    @classmethod
    def of(cls, stages: Sequence[Meshes]) -> RefinedMeshes:
        """Those of the given stages."""
        return cls([one.vertices for one in stages], [one.topology for one in stages])

    def stages(self) -> list[Meshes]:
        """The meshes after each stage."""
        return [Meshes.of(*own) for own in zip(self.vertices, self.topologies, strict=True)]


class MeshHead(RegionBranch):
    """Moves the vertices of a first mesh by what the crop shows at them, in three stages; see `MeshRefinement`.

    The first mesh is the cubified one of a `VoxelHead` before it, or a sphere for every region: Mesh R-CNN's baselines
    "sphere-init" (level 4) and "Pixel2Mesh+" (level 2, subdivided). Where no voxel of a region is occupied, its mesh
    has no faces. A `DepthHead` before it tells the meshes' extent. An exported graph ends before this head, since the
    number of its vertices depends on the image.

    Args:
        in_channels: channels of a crop.
        num_classes: classes without background, which share the head.
        channels: channels of the hidden layers.
        stages: how many.
        convolutions: graph convolutions of a stage.
        resolution: height and width of a crop in cells.
        sphere_level: subdivisions of the icosahedron to begin with, see `icosphere`; None: begin with the voxels.
        subdivide: make four faces of each between the stages.
        samples: points drawn of each surface for the losses.
        max_coordinate: a batch teaches no mesh if a true point has a greater coordinate than this in the box-frustum
            frame, which happens where a region lies far from its object. How many do is logged, see `IgnoredSteps`.
    """

    learns_from = "meshes"
    asks_for = "camera"

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        channels: int = 128,
        stages: int = 3,
        convolutions: int = 3,
        resolution: int = 14,
        sphere_level: int | None = None,
        subdivide: bool = False,
        samples: int = 5000,
        max_coordinate: float = 5.0,
    ) -> None:
        super().__init__()
        self.refinement = MeshRefinement(in_channels, channels, stages, convolutions, subdivide)
        self.resolution = resolution
        self.sphere_level = sphere_level
        self.samples = samples
        self.max_coordinate = max_coordinate
        self._ignored_steps = IgnoredSteps(
            f"taught MeshHead no mesh, since a true one reaches beyond {max_coordinate:g} in the frustum of a region; "
            "if it happens often, look for boxes that do not fit their meshes or raise `max_coordinate`"
        )

    def class_rows(self) -> Mapping[str, Any]:
        """None: all classes share the head."""
        return {}

    def forward(self, crop: Crop, regions: Regions, so_far: Mapping[str, Any], context: Context) -> RefinedMeshes:
        """The meshes after each stage; none in an exported graph.

        Raises:
            InputError: no branch before has made voxels, and there is no `sphere_level`.
        """
        if is_exporting():
            return RefinedMeshes([], [])
        features = crop(regions, self.resolution)

        def align(meshes: Meshes, layer: nn.Linear) -> Aligned:
            vertices = meshes.vertices
            seen = vert_align(through(layer, features), vertices[:, :2], meshes.topology.vertex_objects)
            return Aligned(seen + layer.bias, vertices)

        first = self._first(so_far, len(regions), features.device)
        return RefinedMeshes.of(self.refinement(first, align))

    def losses(
        self, raw: RefinedMeshes, regions: Regions, so_far: Mapping[str, Any], context: Context
    ) -> dict[str, Tensor]:
        """``mesh.chamfer``, ``mesh.normals`` and ``mesh.edge`` of the regions with a mesh, see `shape_losses`.

        Raises:
            InputError: a mesh is not in front of its camera, or has no depth.
        """
        known = region_shapes(regions, context, "meshes")
        stages = raw.stages()
        if known.rows is not None:
            stages = [one[known.rows] for one in stages]
        generator = generator_on(known.boxes.device, context.generator)
        truth = _in_frustums(known).sample_points(self.samples, generator)
        usable = (truth.points.abs() <= self.max_coordinate).all()
        self._ignored_steps.count(~usable)
        truth = SurfacePoints(truth.points.where(usable, 0.0), truth.normals.where(usable, 0.0), truth.counts)
        # Also of a batch that is ignored: the processes count their objects together.
        losses = shape_losses(stages, truth, self.samples, generator)
        attached = sum((0 * one.sum() for one in raw.vertices), torch.zeros((), device=known.boxes.device))
        return {f"mesh.{name}": losses[name].where(usable, 0.0) + attached for name in LOSSES}

    def decode(
        self,
        raw: RefinedMeshes,
        regions: Regions,
        so_far: Mapping[str, Any],
        detections: list[Detections] | None,
        context: Context,
    ) -> list[Detections]:
        """The meshes after the last stage, in the camera frame.

        Raises:
            InputError: no branch before has told the depths.
        """
        assert detections is not None, "meshes are predicted for detections"
        depths = output_of(so_far, Depths)
        if depths is None:
            raise InputError("MeshHead needs the depths of the objects: name a DepthHead before it among the branches")
        return with_meshes(detections, raw.stages()[-1], depths.pixels(regions), regions, context)

    def decode_padded(
        self, raw: RefinedMeshes, regions: Regions, so_far: Mapping[str, Any], context: Context
    ) -> NoOutputs:
        """Nothing: meshes have no fixed size."""
        return NoOutputs()

    @torch.no_grad()
    def ideal(self, regions: Regions, so_far: Mapping[str, Any], context: Context) -> RefinedMeshes:
        """The mesh of each region's object; see `DenseHead.ideal`."""
        labels, _ = regions.sampled()
        own = torch.where(labels >= 0)[0]
        known = region_shapes(regions[own], context, "meshes")
        meshes = _in_frustums(known)
        counts = torch.zeros(2, len(regions), dtype=torch.int64)
        counts[:, known.select(own).cpu()] = torch.stack((meshes.topology.vertex_counts, meshes.topology.face_counts))
        return RefinedMeshes([meshes.vertices], [Topology(meshes.faces, *counts.unbind())])

    def _first(self, so_far: Mapping[str, Any], regions: int, device: torch.device) -> Meshes:
        """The meshes to begin with, in the box-frustum frame."""
        if self.sphere_level is not None:
            return _sphere(self.sphere_level)[[0] * regions].to(device)
        voxels = output_of(so_far, Voxels)
        if voxels is None:
            raise InputError(
                "MeshHead begins with voxels: name a VoxelHead before it among the branches, or set sphere_level"
            )
        return voxels.cubified


class NoOutputs:
    """What a branch adds to an exported graph that ends before it."""

    def outputs(self) -> dict[str, Tensor]:
        """None."""
        return {}


_sphere = functools.cache(icosphere)


def _in_frustums(known: RegionShapes) -> Meshes:
    """The true meshes in the frames of their regions."""
    meshes: Meshes = known.shapes
    counts, ranges = meshes.vertex_counts, known.depth_ranges
    return meshes.with_vertices(to_box_frustum(meshes.vertices, counts, known.boxes, known.cameras, ranges))
