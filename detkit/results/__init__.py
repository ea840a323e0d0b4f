"""Conversions and drawings of predictions, behind the methods of `detkit.structures.Detections`."""

from detkit.results.coco_results import coco_results, to_coco
from detkit.results.data_frames import pixels_to_pandas, to_pandas
from detkit.results.label_map_files import color_png, label_png, map_polygons, polygon_json
from detkit.results.panoptic_results import panoptic_content, panoptic_png, to_coco_panoptic
from detkit.results.pictures import crops, image_of, plot, show, write_plot
from detkit.results.supervision_detections import to_supervision

__all__ = [
    "coco_results",
    "color_png",
    "crops",
    "image_of",
    "label_png",
    "map_polygons",
    "panoptic_content",
    "panoptic_png",
    "pixels_to_pandas",
    "plot",
    "polygon_json",
    "show",
    "to_coco",
    "to_coco_panoptic",
    "to_pandas",
    "to_supervision",
    "write_plot",
]
