"""Evaluation: detections and ground truth become numbers."""

from detkit.evaluation.bootstrap import Interval, bootstrap
from detkit.evaluation.classification import ClassificationEvaluator
from detkit.evaluation.coco import CocoEvaluator
from detkit.evaluation.detections_file import evaluate_detections_file, evaluate_files
from detkit.evaluation.evaluation import METRICS, CocoEvaluation
from detkit.evaluation.evaluator import Evaluation, Evaluator, Report, ReportOptions
from detkit.evaluation.image_collector import ImageEvaluation
from detkit.evaluation.image_report import confusion_table, image_class_table, image_table, write_confusion
from detkit.evaluation.localization import LocalizationEvaluator
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
    "ClassificationEvaluator",
    "CocoEvaluation",
    "CocoEvaluator",
    "ErrorAnalysis",
    "Evaluation",
    "Evaluator",
    "ImageEvaluation",
    "Interval",
    "LocalizationEvaluator",
    "ProposalRecall",
    "Report",
    "ReportOptions",
    "VocEvaluation",
    "VocEvaluator",
    "analyse_errors",
    "bootstrap",
    "coco_table",
    "confusion_table",
    "error_table",
    "evaluate_detections_file",
    "evaluate_files",
    "image_class_table",
    "image_table",
    "interval_table",
    "per_class_table",
    "plot_precision_recall",
    "rich_table",
    "voc_table",
    "write_confusion",
    "write_metrics",
]
