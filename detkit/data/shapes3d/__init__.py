"""`Shapes3D`: a rendered data set of boxes, cylinders, tori … with exact meshes and cameras."""

from detkit.data.shapes3d.shapes3d_dataset import Shapes3D
from detkit.data.shapes3d.solids import SOLID_NAMES

__all__ = ["SOLID_NAMES", "Shapes3D"]
