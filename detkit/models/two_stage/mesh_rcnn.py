"""Mesh R-CNN (Gkioxari, Malik and Johnson 2019): the shape in space of each detected object."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from detkit.backbones import Backbone
from detkit.heads import NMS, RPN, DepthHead, MeshHead, RegionBranch, VoxelHead
from detkit.matching import Matcher
from detkit.models.two_stage.mask_rcnn import MaskRCNN

LEAST_BACKGROUND_IOU = 0.2
"""Images of Pix3D have one object annotated: what overlaps it little may show others and is no background."""

LOSS_WEIGHTS = {"voxel": 3.0, "mesh.chamfer": 1.0, "mesh.normals": 0.1, "mesh.edge": 1.0}
"""Those of the authors' ``meshrcnn_R50_FPN.yaml``."""


class MeshRCNN(MaskRCNN):
    """Mask R-CNN with branches for voxels and meshes (figure 3).

        images -> backbone -> FPN -> rpn -> regions -> box_head -> detections
            region -> mask_head  -> mask
                   -> depth_head -> extent along z
                   -> voxel_head -> voxels (24, 24, 24) -> cubify -> mesh -+
                   -> mesh_head: 3 stages, which move its vertices  <------+

    It asks for the camera of each image, also at inference. `Detections.voxels` are in the frustums of the boxes.
    `Detections.meshes` are in the camera frame, in units of the distance z of the object's center, since an image does
    not tell it: multiply the vertices with the true distance. The paper's baselines:

    - voxel-only: ``mesh_head=None``;
    - sphere-init: ``voxel_head=None, mesh_head=partial(MeshHead, sphere_level=4)``;
    - Pixel2Mesh+: ``voxel_head=None, mesh_head=partial(MeshHead, sphere_level=2, subdivide=True)``.

    An exported graph has the ``voxels`` and ``depths`` of the detections, and needs no camera.

    Args:
        backbone: the backbone, or the name of a torchvision or timm net, as of `FasterRCNN`.
        num_classes: classes without background.
        depth_head: called with a crop's channels and the number of classes, as are the other two.
        voxel_head: None where the mesh head begins with a sphere.
        mesh_head: None to answer the cubified voxels.
        branches: further branches, by name, as of `FasterRCNN`.
        rpn: as of `FasterRCNN`; None: an `RPN` with the authors' settings, in which anchors that overlap every object
            less than `LEAST_BACKGROUND_IOU` teach nothing.
        region_matcher: as of `FasterRCNN`; None: proposals that overlap every object less than that teach nothing.
        regions_per_image: regions sampled for training, at most a quarter of them foreground.
        loss_weights: factor of each named loss; None: `LOSS_WEIGHTS` of the branches that there are.
        arguments: as of `MaskRCNN`.
    """

    task = "detkit.tasks.MeshDetection"

    def __init__(
        self,
        backbone: Backbone | str,
        num_classes: int,
        depth_head: Callable[[int, int], RegionBranch] = DepthHead,
        voxel_head: Callable[[int, int], RegionBranch] | None = VoxelHead,
        mesh_head: Callable[[int, int], RegionBranch] | None = MeshHead,
        branches: Mapping[str, Callable[[int, int], RegionBranch]] | None = None,
        rpn: Callable[[list[int], list[int]], RPN] | None = None,
        region_matcher: Matcher | None = None,
        regions_per_image: int = 64,
        loss_weights: Mapping[str, float] | None = None,
        **arguments: Any,
    ) -> None:
        named = {"depth": depth_head, "voxel": voxel_head, "mesh": mesh_head}
        own = {name: head for name, head in named.items() if head is not None}
        weights = {name: factor for name, factor in LOSS_WEIGHTS.items() if name.partition(".")[0] in own}
        super().__init__(
            backbone,
            num_classes,
            branches={**own, **(branches or {})},
            rpn=rpn or _authors_rpn,
            region_matcher=region_matcher or Matcher(0.5, 0.5, least_background_iou=LEAST_BACKGROUND_IOU),
            regions_per_image=regions_per_image,
            loss_weights=weights if loss_weights is None else loss_weights,
            **arguments,
        )

    @property
    def graph_fields(self) -> frozenset[str]:
        """Without the camera, which places shapes after the graph."""
        return super().graph_fields - {"camera"}


def _authors_rpn(in_channels: list[int], strides: list[int]) -> RPN:
    return RPN(
        in_channels,
        strides,
        background_iou=0.5,
        least_background_iou=LEAST_BACKGROUND_IOU,
        postprocess_for_training=NMS(candidates=2000, detections=1000),
    )
