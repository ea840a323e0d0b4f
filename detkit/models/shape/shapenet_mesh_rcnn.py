"""Mesh R-CNN for images of one object, without a detector (Gkioxari et al. 2019, section 4.1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from detkit.backbones import Backbone, as_backbone
from detkit.errors import InputError
from detkit.heads.context import Context
from detkit.heads.image.shape.camera_views import CameraViews, given_cameras
from detkit.heads.image.shape.image_mesh import ImageMeshHead
from detkit.heads.image.shape.image_voxel import ImageVoxelHead
from detkit.heads.region.mesh.shape_losses import LOSSES
from detkit.models.required_fields import check_fields
from detkit.models.vision_model import VisionModel
from detkit.ops import is_exporting
from detkit.prefixes import longest_prefix
from detkit.preprocess import IMAGENET_MEAN, IMAGENET_STD, Batch, Preprocess, Stretch
from detkit.structures import Meshes, ObjectShape
from detkit.structures.meshes import icosphere

R2N2_FOCAL_LENGTH = 35 / 16
"""Of the cameras of ShapeNet's renderings by 3D-R2N2 in half widths of the image: 35 mm before a film of 32 mm."""
R2N2_DEPTHS = (0.2002002 / (1.002002 - 0.67), 0.2002002 / (1.002002 - 0.92))
"""Between which depths z the objects of these renderings lie, about 0.603 and 2.441; by the authors' constants, which
are normalized device coordinates of Blender's camera."""


class ShapeOutput(NamedTuple):
    """The raw outputs for B images.

    Args:
        voxels: logits ``(B, D, H, W)``; None without a voxel head.
        meshes: of the images, in the camera frame, first those to begin with, then those after each stage.
        views: the cameras of the images; None in an exported graph.
    """

    voxels: Tensor | None
    meshes: list[Meshes]
    views: CameraViews | None


class ShapeNetMeshRCNN(VisionModel):
    """The shape of the one object of an image.

        images -> backbone -+-> coarsest map -> voxel head -> voxels -> surface of the occupied ones
                            +-> all maps ----------------------------> mesh head, three stages -> mesh

    Targets need ``meshes``, and ``voxels`` unless the meshes are closed and the voxel head learns from them. The answer
    is an `ObjectShape` in the camera frame. The maps and the frustum of the voxels are those of the whole image. The
    baselines of the paper are ``mesh_head: null`` (voxels only); ``voxel_head: null`` with ``sphere_level: 4``
    (SphereInit); and with ``sphere_level: 2`` and ``mesh_head.subdivide: true`` (Pixel2Mesh+), both of a sphere of
    radius 1 around the camera.

    While the weights of ``mesh.chamfer``, ``mesh.normals`` and ``mesh.edge`` are all 0, so that voxels alone are
    learned, the stages refine an icosahedron for each image: the surfaces of untrained voxels are huge.

    Args:
        backbone: any backbone, or the name of a torchvision or timm net, whose stages 2 to 5 are used.
        voxel_head: called with the channels of the coarsest map; None: meshes begin as spheres.
        mesh_head: called with the channels of all maps; None: the mesh is the surface of the voxels.
        sphere_level: subdivisions of the icosahedron that makes the spheres.
        focal_length: of the cameras, in half widths of the image, where they are not given; the principal point is the
            center of the image. The default is that of ShapeNet's renderings (3D-R2N2). None: the model asks for the
            ``camera`` of each image.
        depth_range: the depths z between which objects lie, of which the voxels are. The default is that of these
            renderings.
        preprocess: resizes and normalizes; None stretches images to 137 x 137 pixels, the size of these renderings.
        loss_weights: factors of ``voxel``, ``mesh.chamfer``, ``mesh.normals`` and ``mesh.edge``; where not named 0 for
            ``mesh.normals``, 0.2 for ``mesh.edge``, as for the paper's "pretty" meshes ("best" has none), and 1 for the
            others.

    Raises:
        InputError: there are neither voxels nor spheres, or both; there is no head; or the depths are not positive and
            in order.
    """

    task = "detkit.tasks.Reconstruction"

    def __init__(
        self,
        backbone: Backbone | str = "resnet50",
        voxel_head: Callable[[int], ImageVoxelHead] | None = ImageVoxelHead,
        mesh_head: Callable[[Sequence[int]], ImageMeshHead] | None = ImageMeshHead,
        sphere_level: int | None = None,
        focal_length: float | None = R2N2_FOCAL_LENGTH,
        depth_range: tuple[float, float] = R2N2_DEPTHS,
        preprocess: Preprocess | None = None,
        loss_weights: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        _check(voxel_head, mesh_head, sphere_level, focal_length, depth_range)
        self.preprocess = preprocess or Stretch((137, 137), IMAGENET_MEAN, IMAGENET_STD)
        self.backbone = as_backbone(backbone, stages=[2, 3, 4, 5])
        channels = self.backbone.channels
        self.voxel_head = None if voxel_head is None else voxel_head(channels[-1])
        self.mesh_head = None if mesh_head is None else mesh_head(channels)
        self.sphere_level = sphere_level
        self.focal_length = focal_length
        self.depth_range = depth_range
        if focal_length is None:
            self.asks_for = frozenset({"camera"})
        self.learns_from = frozenset({"camera", "meshes"})  # of voxels alone, meshes are what is evaluated
        weights = {} if mesh_head is None else {"mesh.normals": 0.0, "mesh.edge": 0.2}
        self.loss_weights = weights | dict(loss_weights or {})
        check_fields(self)

    def features(self, batch: Batch) -> list[Tensor]:
        """The backbone's maps, finest first."""
        maps: list[Tensor] = self.backbone(batch.images)
        return maps

    def heads(self, features: list[Tensor], context: Context) -> ShapeOutput:
        """Voxel logits, and the meshes of all stages; in an exported graph the logits alone."""
        logits = None if self.voxel_head is None else self.voxel_head(features[-1], context)
        if is_exporting() or isinstance(context.batch.sizes, Tensor):  # also where a graph is run before it is recorded
            return ShapeOutput(logits, [], None)
        views = CameraViews.of(context, self.focal_length, self.depth_range)
        meshes = [self._start(logits, context, views)]
        if self.mesh_head is not None:
            meshes += self.mesh_head(features, meshes[0], views)
        return ShapeOutput(logits, meshes, views)

    def _start(self, logits: Tensor | None, context: Context, views: CameraViews) -> Meshes:
        """The meshes to begin with, in the camera frame."""
        if context.targets is not None and self.mesh_head is not None and self._learns_voxels_alone():
            return _spheres(0, views.cameras)
        if self.voxel_head is None or logits is None:
            return _spheres(self.sphere_level or 0, views.cameras)
        return views.to_camera(self.voxel_head.surfaces(self.voxel_head.probabilities(logits)))

    def _learns_voxels_alone(self) -> bool:
        rules = [longest_prefix(f"mesh.{name}", self.loss_weights) for name in LOSSES]
        return all(rule is not None and self.loss_weights[rule] == 0 for rule in rules)

    def outputs(self, raw: ShapeOutput) -> Any:
        """The logits of voxels, and the vertices."""
        return raw.voxels if raw.voxels is not None else (), [meshes.vertices for meshes in raw.meshes]

    def losses(self, raw: ShapeOutput, context: Context) -> dict[str, Tensor]:
        """``voxel`` of the voxel head; ``mesh.chamfer``, ``mesh.normals`` and ``mesh.edge`` of the mesh head."""
        losses: dict[str, Tensor] = {}
        if self.voxel_head is not None and raw.voxels is not None and raw.views is not None:
            losses |= self.voxel_head.losses(raw.voxels, context, raw.views)
        if self.mesh_head is not None:
            losses |= self.mesh_head.losses(raw.meshes[1:], context)
        return losses

    @torch.no_grad()
    def decode(self, raw: ShapeOutput, context: Context) -> list[ObjectShape]:
        """The mesh of the last stage of each image, and the voxels that it began as."""
        probabilities = None
        if self.voxel_head is not None and raw.voxels is not None:
            probabilities = self.voxel_head.probabilities(raw.voxels)
        views = raw.views or CameraViews.of(context, self.focal_length, self.depth_range)
        return self._answers(raw.meshes[-1], probabilities, views, context.batch)

    def _answers(
        self, meshes: Meshes, probabilities: Tensor | None, views: CameraViews, batch: Batch
    ) -> list[ObjectShape]:
        own = [None] * len(meshes) if probabilities is None else list(probabilities[:, None])
        cameras, depths = given_cameras(views, batch), None if probabilities is None else views.depth_ranges()[0]
        parts = zip(meshes.to(dtype=torch.float32).split([1] * len(meshes)), cameras, own, strict=True)
        return [ObjectShape(mesh, camera, voxels, depths) for mesh, camera, voxels in parts]

    def decode_padded(self, raw: ShapeOutput, context: Context) -> dict[str, Tensor]:
        """The probabilities of voxels; cubes and stages, whose sizes depend on them, are no part of a graph.

        Raises:
            InputError: the model has no voxels.
        """
        if self.voxel_head is None or raw.voxels is None:
            raise InputError(
                "a ShapeNetMeshRCNN without a voxel head cannot be exported: only voxels fit into a graph, the stages "
                "of the mesh do not"
            )
        return {"voxels": self.voxel_head.probabilities(raw.voxels)}

    @property
    def graph_fields(self) -> frozenset[str]:
        """None: voxels do not depend on the camera."""
        return frozenset()

    @property
    def left_out_of_graphs(self) -> str:
        """The stages of the mesh."""
        return "" if self.mesh_head is None else "the refinement of meshes"

    def answer_as_graph_(self) -> None:
        """Without the mesh head."""
        if self.voxel_head is not None:
            self.mesh_head = None

    def shapes_of_voxels(self, probabilities: Tensor, context: Context) -> list[ObjectShape]:
        """The answers that an exported graph's ``voxels`` ``(B, V, V, V)`` stand for, without refinement."""
        assert self.voxel_head is not None, "only a model with voxels is exported"
        views = CameraViews.of(context, self.focal_length, self.depth_range)
        meshes = views.to_camera(self.voxel_head.surfaces(probabilities))
        return self._answers(meshes, probabilities, views, context.batch)


def _spheres(level: int, cameras: Tensor) -> Meshes:
    """A sphere for each camera."""
    return icosphere(level, cameras.device)[[0] * len(cameras)]


def _check(
    voxel_head: object, mesh_head: object, sphere_level: int | None, focal: float | None, depths: tuple[float, float]
) -> None:
    if voxel_head is None and mesh_head is None:
        raise InputError("a ShapeNetMeshRCNN needs a voxel_head, a mesh_head or both, but neither is given")
    if (voxel_head is None) == (sphere_level is None):
        raise InputError(
            "meshes of a ShapeNetMeshRCNN begin as voxels or as spheres: give voxel_head or sphere_level, and set the "
            "other to null"
        )
    if focal is not None and not focal > 0:
        raise InputError(f"focal_length is {focal}; give a positive number of half widths of the image")
    if not 0 < depths[0] < depths[1]:
        raise InputError(f"depth_range is {tuple(depths)}; give two positive depths, the nearer one first")
