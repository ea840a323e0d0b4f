"""The weights that the authors of Mesh R-CNN published for Pix3D and for ShapeNet."""

from detkit.weights.authors.meshrcnn.published_files import from_meshrcnn

__all__ = ["from_meshrcnn"]
