"""Evaluation: detections and ground truth become numbers."""

from detkit.evaluation.coco import CocoEvaluator
from detkit.evaluation.detections_file import evaluate_detections_file, evaluate_files
from detkit.evaluation.evaluation import METRICS, CocoEvaluation
from detkit.evaluation.report import coco_table, per_class_table, plot_precision_recall, rich_table, write_metrics

__all__ = [
    "METRICS",
    "CocoEvaluation",
    "CocoEvaluator",
    "coco_table",
    "evaluate_detections_file",
    "evaluate_files",
    "per_class_table",
    "plot_precision_recall",
    "rich_table",
    "write_metrics",
]
