"""Geometry: moving images and their annotations from one coordinate frame to another."""

from detkit.geometry.camera_frames import are_cameras, camera_turn, central_camera, moved_cameras
from detkit.geometry.placement import IMAGENET_MEAN_COLOR, Placement
from detkit.geometry.rectangles import Matrix, Rectangle, Size
from detkit.geometry.resampling import resample
from detkit.geometry.row_groups import rows_alike
from detkit.geometry.row_placements import RowPlacements, move_boxes, move_points

__all__ = [
    "IMAGENET_MEAN_COLOR",
    "Matrix",
    "Placement",
    "Rectangle",
    "RowPlacements",
    "Size",
    "are_cameras",
    "camera_turn",
    "central_camera",
    "move_boxes",
    "move_points",
    "moved_cameras",
    "resample",
    "rows_alike",
]
