"""Predictions for one image: `Detections`, `Classification` and `SemanticMap`, and what they know of their image."""

from detkit.structures.predictions.class_scores import Classification, ScoredClass
from detkit.structures.predictions.detections import DetectedObject, Detections
from detkit.structures.predictions.image_source import ImageSource
from detkit.structures.predictions.prediction import Prediction
from detkit.structures.predictions.scored_prediction import ScoredPrediction
from detkit.structures.predictions.semantic_map import SemanticMap

__all__ = [
    "Classification",
    "DetectedObject",
    "Detections",
    "ImageSource",
    "Prediction",
    "ScoredClass",
    "ScoredPrediction",
    "SemanticMap",
]
