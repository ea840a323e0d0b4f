"""Conversions and drawings of predictions, behind the methods of `detkit.structures.Detections`."""

from detkit.results.coco_results import coco_results, to_coco
from detkit.results.data_frames import to_pandas
from detkit.results.pictures import crops, image_of, plot, save, show
from detkit.results.supervision_detections import to_supervision

__all__ = ["coco_results", "crops", "image_of", "plot", "save", "show", "to_coco", "to_pandas", "to_supervision"]
