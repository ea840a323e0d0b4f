"""Evaluation: detections and ground truth become numbers."""

from detkit.evaluation.coco import METRICS, CocoEvaluation, CocoEvaluator

__all__ = ["METRICS", "CocoEvaluation", "CocoEvaluator"]
