"""Evaluation: detections and ground truth become numbers."""

from detkit.evaluation.bootstrap import Interval, bootstrap
from detkit.evaluation.coco import CocoEvaluator
from detkit.evaluation.detections_file import evaluate_detections_file, evaluate_files
from detkit.evaluation.evaluation import METRICS, CocoEvaluation
from detkit.evaluation.proposal_recall import ProposalRecall
from detkit.evaluation.report import (
    coco_table,
    error_table,
    interval_table,
    per_class_table,
    plot_precision_recall,
    rich_table,
    voc_table,
    write_metrics,
)
from detkit.evaluation.tide import ErrorAnalysis, analyse_errors
from detkit.evaluation.voc import VocEvaluation, VocEvaluator

__all__ = [
    "METRICS",
    "CocoEvaluation",
    "CocoEvaluator",
    "ErrorAnalysis",
    "Interval",
    "ProposalRecall",
    "VocEvaluation",
    "VocEvaluator",
    "analyse_errors",
    "bootstrap",
    "coco_table",
    "error_table",
    "evaluate_detections_file",
    "evaluate_files",
    "interval_table",
    "per_class_table",
    "plot_precision_recall",
    "rich_table",
    "voc_table",
    "write_metrics",
]
