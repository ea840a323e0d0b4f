"""Predictions for one image: `Detections` and `Classification`, and what they know of their image."""

from detkit.structures.predictions.class_scores import Classification, ScoredClass
from detkit.structures.predictions.detections import DetectedObject, Detections
from detkit.structures.predictions.image_source import ImageSource
from detkit.structures.predictions.prediction import Prediction

__all__ = ["Classification", "DetectedObject", "Detections", "ImageSource", "Prediction", "ScoredClass"]
