"""Models that answer with the shape of an image's one object."""

from detkit.models.shape.shapenet_mesh_rcnn import ShapeNetMeshRCNN

__all__ = ["ShapeNetMeshRCNN"]
