"""`ObjectShape`: the shape of the one object of an image."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
from torch import Tensor

from detkit.structures.categories import Category
from detkit.structures.image_fields import Camera
from detkit.structures.kind import Kind, check_tensor
from detkit.structures.meshes import Meshes
from detkit.structures.meshes.mesh_fields import FrustumVoxels, ObjectMeshes
from detkit.structures.predictions.image_source import ImageSource, OfImage
from detkit.structures.predictions.prediction import Prediction


@dataclass(frozen=True)
class DepthRange(Kind):
    """``(2,)`` float32, the distances z between which a frustum's cells lie. No placement of the image changes them."""

    def check(self, owner: str, value: Any, count: int, counted: str) -> None:
        check_tensor(owner, value, torch.float32, (2,))


@dataclass(frozen=True, eq=False, repr=False)
class ObjectShape(Prediction):
    """The shape of the one object of an image, in the camera frame: x right, y down, z away from the camera.

    Args:
        meshes: of one object, float32, in the units of the data set.
        camera: ``(3, 3)`` float32, the intrinsic matrix, in pixels of the image.
        voxels: ``(1, D, H, W)`` float32, the probability that a cell of the frustum of the whole image is occupied;
            near cells first, then from top to bottom and from left to right.
        depth_range: ``(2,)`` float32, where the frustum of the voxels begins and ends: the z that become -1 and 1 in
            `detkit.ops.meshes.to_box_frustum`.
        source: the image and the categories, which `predict` adds.

    Raises:
        TypeError, ValueError: a field has the wrong type, dtype or shape; the message names it.
    """

    meshes: Annotated[Meshes, ObjectMeshes()]
    camera: Annotated[Tensor, Camera()]
    voxels: Annotated[Tensor | None, FrustumVoxels()] = None
    depth_range: Annotated[Tensor | None, DepthRange()] = None
    source: Annotated[ImageSource | None, OfImage()] = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.meshes) != 1:
            raise ValueError(f"ObjectShape.meshes must be of one object, got {len(self.meshes)}")

    def predicted_labels(self) -> list[int]:
        """None: a shape has no class."""
        return []

    def known_categories(self) -> list[Category]:
        """None."""
        return []

    def __repr__(self) -> str:
        """The size of the mesh, such as ``a mesh of 642 vertices and 1280 faces``."""
        return f"a mesh of {len(self.meshes.vertices)} vertices and {len(self.meshes.faces)} faces"
