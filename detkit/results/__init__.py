"""Conversions and drawings of predictions, behind the methods of `detkit.structures.Detections`."""

from detkit.results.coco_results import coco_results, to_coco
from detkit.results.data_frames import to_pandas
from detkit.results.panoptic_results import to_coco_panoptic
from detkit.results.pictures import crops, image_of, plot, show, write_plot
from detkit.results.supervision_detections import to_supervision

__all__ = [
    "coco_results",
    "crops",
    "image_of",
    "plot",
    "show",
    "to_coco",
    "to_coco_panoptic",
    "to_pandas",
    "to_supervision",
    "write_plot",
]
