"""The arguments of ``detkit eval``."""

from __future__ import annotations

from typing import Literal

from jsonargparse import ArgumentParser

from detkit.data import DataModule
from detkit.engine.config.evaluator_entries import add_evaluators
from detkit.evaluation.coco.coco_evaluation import Backend
from detkit.evaluation.ground_truth import IouType
from detkit.evaluation.voc_evaluator import VocProtocol


def add_evaluation_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--checkpoint", type=str | None, help="checkpoint file or run folder")
    parser.add_argument("--annotations", type=str | None, help="COCO file with the ground truth, for --detections")
    parser.add_argument(
        "--detections", type=str | None, help="file of detections in COCO's results format, instead of --checkpoint"
    )
    parser.add_argument("--split", type=Literal["val", "test"], default="val", help="split to evaluate")
    add_evaluators(parser, "those of the checkpoint's config; for a file, CocoEvaluator of boxes")
    parser.add_argument(
        "--protocol",
        type=Literal["coco", VocProtocol] | None,
        help="short form of --evaluators: COCO or PASCAL VOC metrics of boxes",
    )
    parser.add_argument(
        "--iou_type",
        type=IouType,
        nargs="+",
        default=None,
        help="short form of --evaluators: COCO metrics of boxes, masks or keypoints",
    )
    parser.add_argument("--keypoint_sigmas", type=list[float] | None, help="sigmas of keypoints; null: the data's")
    parser.add_argument("--backend", type=Backend | None, help="implementation of the COCO metrics; null: native code")
    parser.add_argument("--out", type=str | None, help="write the metrics to this JSON file")
    parser.add_argument(
        "--save_detections", type=str | None, help="write the detections to this JSON file, in COCO's results format"
    )
    parser.add_argument("--per_class", action="store_true", help="also print the metrics of each class")
    parser.add_argument(
        "--bootstrap", type=int, default=0, help="number of bootstrap samples for confidence intervals, such as 1000"
    )
    parser.add_argument("--errors", action="store_true", help="print the AP lost to each kind of error (TIDE)")
    parser.add_argument("--curves", type=str | None, help="write precision-recall curves to this PNG file")
    parser.add_argument("--confusion", type=str | None, help="write the confusion matrix to this .png or .csv file")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument(
        "--precision", type=str, default="32-true", help="precision in Lightning's notation, such as bf16-mixed"
    )
    parser.add_argument(
        "--trust", type=str, action="append", default=[], help="package whose classes a checkpoint may build"
    )
    parser.add_class_arguments(DataModule, "data", skip={"seed", "eval_split"})
