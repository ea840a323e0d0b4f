"""Evaluators, and the metrics, tables and files that they produce."""

from detkit.deprecation import moved_names
from detkit.evaluation.classification_evaluator import ClassificationEvaluator
from detkit.evaluation.coco.bootstrap import bootstrap
from detkit.evaluation.coco.coco_evaluation import METRICS, CocoEvaluation
from detkit.evaluation.coco.coco_evaluator import CocoEvaluator
from detkit.evaluation.coco.tide import AssignedErrors, ErrorAnalysis, analyze_errors, assign_errors
from detkit.evaluation.confusion.confusion_matrix import ConfusionMatrix
from detkit.evaluation.confusion.detection_confusion import confuse_detections
from detkit.evaluation.evaluator import Evaluation, EvaluationResult, Evaluator, Report, ReportOptions
from detkit.evaluation.files.detections_file import evaluate_detections_file, evaluate_files
from detkit.evaluation.image_collector import ImageEvaluation
from detkit.evaluation.localization_evaluator import LocalizationEvaluator
from detkit.evaluation.meshes.mesh_comparison import MeshComparison, compare_meshes
from detkit.evaluation.meshes.mesh_evaluation import MeshEvaluation
from detkit.evaluation.meshes.mesh_evaluator import MeshEvaluator
from detkit.evaluation.meshes.mesh_protocol import MESH_RCNN, PIXEL2MESH, MeshProtocol
from detkit.evaluation.meshes.single_mesh_evaluator import SingleMeshEvaluator
from detkit.evaluation.panoptic.panoptic_evaluation import PanopticEvaluation
from detkit.evaluation.panoptic.panoptic_evaluator import PanopticEvaluator
from detkit.evaluation.proposal_recall import ProposalRecall
from detkit.evaluation.semantic.semantic_evaluation import SemanticEvaluation
from detkit.evaluation.semantic.semantic_evaluator import SemanticEvaluator
from detkit.evaluation.tables.confusion_report import confusion_table, write_confusion
from detkit.evaluation.tables.detection_report import (
    coco_table,
    error_table,
    interval_table,
    per_class_table,
    plot_precision_recall,
    rich_table,
    voc_table,
    write_metrics,
)
from detkit.evaluation.tables.image_report import image_class_table, image_table
from detkit.evaluation.voc_evaluator import VocEvaluation, VocEvaluator
from detkit.evaluation.weighting.image_weighting import ImageMeans, ImageWeighting, MeasuredData, WeightedNumbers
from detkit.evaluation.weighting.intervals import Interval

__all__ = [
    "MESH_RCNN",
    "METRICS",
    "PIXEL2MESH",
    "AssignedErrors",
    "ClassificationEvaluator",
    "CocoEvaluation",
    "CocoEvaluator",
    "ConfusionMatrix",
    "ErrorAnalysis",
    "Evaluation",
    "EvaluationResult",
    "Evaluator",
    "ImageEvaluation",
    "ImageMeans",
    "ImageWeighting",
    "Interval",
    "LocalizationEvaluator",
    "MeasuredData",
    "MeshComparison",
    "MeshEvaluation",
    "MeshEvaluator",
    "MeshProtocol",
    "PanopticEvaluation",
    "PanopticEvaluator",
    "ProposalRecall",
    "Report",
    "ReportOptions",
    "SemanticEvaluation",
    "SemanticEvaluator",
    "SingleMeshEvaluator",
    "VocEvaluation",
    "VocEvaluator",
    "WeightedNumbers",
    "analyze_errors",
    "assign_errors",
    "bootstrap",
    "coco_table",
    "compare_meshes",
    "confuse_detections",
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

__getattr__ = moved_names(__name__, {"analyse_errors": "detkit.evaluation.analyze_errors"})
