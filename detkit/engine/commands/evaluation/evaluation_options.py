"""The options of ``detkit eval``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jsonargparse import ArgumentParser

from detkit.data import DataModule
from detkit.engine.config.evaluator_entries import Entry, add_evaluators
from detkit.errors import InputError
from detkit.evaluation import ReportOptions
from detkit.evaluation.coco.coco_evaluation import Backend
from detkit.evaluation.ground_truth import IouType
from detkit.evaluation.voc_evaluator import VocProtocol


@dataclass(frozen=True)
class EvaluationOptions:
    """What to evaluate, how, and what to write; the fields are arguments of ``detkit eval``."""

    checkpoint: str | None
    annotations: str | None
    detections: str | None
    split: Literal["val", "test"]
    evaluators: list[Entry] | None
    protocol: str | None
    iou_type: list[str] | None
    keypoint_sigmas: list[float] | None
    backend: Backend | None
    out: str | None
    save_detections: str | None
    per_class: bool
    bootstrap: int
    errors: bool
    curves: str | None
    confusion: str | None
    device: str
    precision: str
    trust: list[str]

    @property
    def report(self) -> ReportOptions:
        """What the tables and plots show."""
        return ReportOptions(
            per_class=self.per_class,
            bootstrap=self.bootstrap,
            errors=self.errors,
            curves=Path(self.curves) if self.curves else None,
            confusion=Path(self.confusion) if self.confusion else None,
        )

    @property
    def short_names(self) -> tuple[str, list[str]]:
        """The option that names evaluators by short names, and these names; none where it is not given."""
        if self.protocol in (None, "coco"):
            return "--iou_type", self.iou_type or ([] if self.protocol is None else ["bbox"])
        return "--protocol", [str(self.protocol)]


def add_arguments(parser: ArgumentParser) -> None:
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


def check_options(options: EvaluationOptions, has_checkpoint: bool) -> None:
    """Refuse options that contradict each other, or that say nothing of what to evaluate.

    Args:
        options: as they were parsed.
        has_checkpoint: whether there is a model to evaluate.
    """
    voc = None if options.protocol in (None, "coco") else options.protocol
    coco = {"--iou_type": options.iou_type not in (None, ["bbox"])}
    coco |= {f"--{name}": bool(getattr(options, name)) for name in ("bootstrap", "errors", "curves")}
    for option, is_given in coco.items():
        if voc and is_given:
            raise InputError(f"{option} is for COCO's evaluation: leave it out, or --protocol {voc}.")
    if options.errors and options.iou_type == ["keypoints"]:
        raise InputError("--errors is for boxes and masks; choose --iou_type bbox or segm.")
    for name in ("protocol", "iou_type"):
        if options.evaluators is not None and getattr(options, name) is not None:
            raise InputError(f"--evaluators and --{name} both say how to evaluate: leave out one.")
    if has_checkpoint == (options.detections is not None):
        raise InputError("Give either --checkpoint, or --annotations and --detections; see --help.")
