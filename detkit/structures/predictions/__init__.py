"""Predictions for one image: `Detections`, `Classification`, `SemanticMap`, `PanopticMap`, `ObjectShape`; and what they
know of it."""

from detkit.structures.predictions.class_scores import Classification, ScoredClass
from detkit.structures.predictions.detections import DetectedObject, Detections
from detkit.structures.predictions.image_source import ImageSource
from detkit.structures.predictions.object_shape import ObjectShape
from detkit.structures.predictions.panoptic_map import PanopticMap, PanopticSegment
from detkit.structures.predictions.prediction import Prediction
from detkit.structures.predictions.scored_prediction import ScoredPrediction
from detkit.structures.predictions.semantic_map import SemanticMap

__all__ = [
    "Classification",
    "DetectedObject",
    "Detections",
    "ImageSource",
    "ObjectShape",
    "PanopticMap",
    "PanopticSegment",
    "Prediction",
    "ScoredClass",
    "ScoredPrediction",
    "SemanticMap",
]
