"""`Shapes`: a drawn data set of discs, boxes, triangles … in COCO's layout, for tests, examples and first trainings."""

from detkit.data.shapes.folder import draw_shapes, folder_name
from detkit.data.shapes.options import COLORS, KEYPOINT_NAMES, KEYPOINT_SIGMAS, SHAPE_NAMES, SKELETON, ShapesOptions
from detkit.data.shapes.scene import draw_image
from detkit.deprecation import moved_names

__all__ = [
    "COLORS",
    "KEYPOINT_NAMES",
    "KEYPOINT_SIGMAS",
    "SHAPE_NAMES",
    "SKELETON",
    "ShapesOptions",
    "draw_image",
    "draw_shapes",
    "folder_name",
]

__getattr__ = moved_names(__name__, {"draw_picture": "detkit.data.shapes.scene.draw_image"})
