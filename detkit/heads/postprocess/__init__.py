"""Postprocessing of scored boxes to detections: score threshold, suppression, top-k."""

from detkit.heads.postprocess.postprocess import Postprocess
from detkit.heads.postprocess.suppression import NMS, SoftNMS, TopK

__all__ = ["NMS", "Postprocess", "SoftNMS", "TopK"]
