"""``detkit eval``: COCO's, VOC's, ILSVRC's or your own numbers of a checkpoint, or of a file of detections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jsonargparse import ArgumentParser
from rich import get_console

from detkit.data import DataModule
from detkit.deprecation import moved_names
from detkit.engine.callbacks.progress import quiet_lightning
from detkit.engine.checkpoint import Checkpoint
from detkit.engine.commands.evaluation.evaluation_pass import evaluation_pass
from detkit.engine.config.command_line import read_named_checkpoint
from detkit.engine.config.evaluator_entries import (
    Entry,
    EvaluatorFactory,
    add_evaluators,
    check_named,
    complete_entries,
    entries_named,
    factories,
    task_entries,
    with_arguments,
)
from detkit.engine.config.parser import ParsedCommand, command_parser, write_json
from detkit.engine.evaluators import by_name, make_evaluators, recorded_evaluators
from detkit.engine.shorthand.short_options import short_help, with_full_options
from detkit.errors import InputError
from detkit.evaluation import Evaluator, ReportOptions
from detkit.evaluation.coco.coco_evaluation import Backend
from detkit.evaluation.ground_truth import IouType
from detkit.evaluation.tables.detection_report import write_numbers
from detkit.evaluation.voc_evaluator import VocProtocol
from detkit.models import VisionModel
from detkit.tasks import task_of, task_of_results

__getattr__ = moved_names(
    __name__,
    {
        "EXPLICIT_PATHS": "detkit.engine.config.command_line.EXPLICIT_PATHS",
        "default_to_training_data": "detkit.engine.config.command_line.default_to_training_data",
    },
)

DESCRIPTION = """Evaluate a checkpoint or a file of detections: COCO, PASCAL VOC or ILSVRC metrics, or your own.

The default data is the validation split of the checkpoint's config. --data.root evaluates on another folder with the
same classes. The default evaluators are those of the checkpoint's config. A file of detections, in COCO's results
format, needs no checkpoint.

examples:
  detkit eval --checkpoint runs/faster_rcnn_shapes/best.ckpt --out metrics.json
  detkit eval --checkpoint runs/faster_rcnn_shapes/best.ckpt --data.root my/folder --split test --per_class
  detkit eval --annotations ground_truth.json --detections detections.json --iou_type segm
  detkit eval --checkpoint runs/voc/best.ckpt --data.root VOCdevkit/VOC2007 --split test --protocol voc2007
  detkit eval --checkpoint runs/faster_rcnn_shapes/best.ckpt --evaluators '[CocoEvaluator, my_package.MyEvaluator]'
  detkit eval --checkpoint runs/faster_rcnn_shapes/best.ckpt --bootstrap 1000 --errors --curves curves.png
  detkit eval --checkpoint runs/imagenet/best.ckpt --data.root imagenet --confusion confusion.csv"""


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


def evaluate_command(argv: Sequence[str]) -> None:
    """Parse the command line `argv`, evaluate, and print the tables."""
    evaluation_numbers(argv)


def evaluation_numbers(argv: Sequence[str], given: tuple[VisionModel, Checkpoint] | None = None) -> dict[str, Any]:
    """Parse the command line `argv`, evaluate, and print the tables.

    Args:
        argv: the command line.
        given: a model that exists and what is known of it, in place of ``--checkpoint``.

    Returns:
        The numbers of each evaluator by its name; nothing on all processes but the first.

    Raises:
        InputError: an option, the checkpoint or the data is wrong.
    """
    parser = command_parser("eval", "--checkpoint CHECKPOINT [--KEY VALUE ...]", DESCRIPTION + short_help("eval"))
    add_arguments(parser)
    argv = with_full_options("eval", argv)
    model, checkpoint = given or (None, read_named_checkpoint(parser, argv))
    parsed = ParsedCommand.of(parser, argv)
    options = parsed.options(EvaluationOptions)
    _check_options(options)
    if (checkpoint is None) == (options.detections is None):
        raise InputError("Give either --checkpoint, or --annotations and --detections; see --help.")
    if checkpoint is None:
        evaluators: dict[str, Evaluator] | None = _evaluate_file(options)
    else:
        evaluators = _evaluate_checkpoint(checkpoint, parsed, options, model)
    return {} if evaluators is None else _report(evaluators, options)


def _check_options(options: EvaluationOptions) -> None:
    """Refuse options that contradict each other."""
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


def _evaluate_file(options: EvaluationOptions) -> dict[str, Evaluator]:
    if options.annotations is None or options.detections is None:
        raise InputError("--detections needs --annotations, the ground truth to compare them with.")
    names = options.short_names[1] or ["bbox"]
    entries = options.evaluators or complete_entries(entries_named(names))
    annotations = Path(options.annotations)
    evaluators = by_name([factory(annotations) for factory in _factories(entries, options)])
    for evaluator in evaluators.values():
        evaluator.read(options.detections)
    _check_extras(options, evaluators)
    for evaluator in evaluators.values():
        evaluator.compute()
    return evaluators


def _evaluate_checkpoint(
    checkpoint: Checkpoint, parsed: ParsedCommand, options: EvaluationOptions, model: VisionModel | None
) -> dict[str, Evaluator] | None:
    """The evaluators after a pass over the data; None on all processes but the first."""
    quiet_lightning()
    model = model or checkpoint.model(trust=options.trust)
    makers = _factories(_entries(model, options, checkpoint), options)
    data: DataModule = parsed.build()["data"]
    data.eval_split = options.split
    dataset = checkpoint.dataset(data, model, options.split)
    evaluators = make_evaluators(model, makers, dataset.ground_truth(), checkpoint.categories)
    _check_extras(options, evaluators, model)
    is_first = evaluation_pass(model, evaluators, data, options.device, options.precision)
    return evaluators if is_first else None


def _entries(model: VisionModel, options: EvaluationOptions, checkpoint: Checkpoint) -> list[Entry]:
    """The evaluators of the command line, in full or by short names, else of the recipe, else of the task."""
    option, names = options.short_names
    if options.evaluators is not None:
        return options.evaluators
    if names:
        check_named(option, names, model)
        return complete_entries(entries_named(names))
    return recorded_evaluators(checkpoint, options.trust) or complete_entries(task_entries(model))


def _factories(entries: Sequence[Entry], options: EvaluationOptions) -> list[EvaluatorFactory]:
    return factories(with_arguments(entries, backend=options.backend, keypoint_sigmas=options.keypoint_sigmas))


def _check_extras(
    options: EvaluationOptions, evaluators: Mapping[str, Evaluator], model: VisionModel | None = None
) -> None:
    """Refuse to compute what none of the evaluators has."""
    for extra in [*options.report.extras(), *(["save_detections"] if options.save_detections else [])]:
        if not any(extra in evaluator.extras for evaluator in evaluators.values()):
            task = task_of_results() if model is None else task_of(model)
            raise InputError(task.refusal(f"--{extra}", "file" if model is None else type(model).__name__))


def _report(evaluators: Mapping[str, Evaluator], options: EvaluationOptions) -> dict[str, Any]:
    """Write the files, the detections first, which took the longest; print the tables; return the numbers."""
    if options.save_detections:
        with_results = next(one for one in evaluators.values() if "save_detections" in one.extras)
        write_json(options.save_detections, with_results.results())
    console, numbers = get_console(), {}
    for name, evaluator in evaluators.items():
        report_options = options.report.named(name) if len(evaluators) > 1 else options.report
        report = evaluator.report(evaluator.evaluation, report_options)
        numbers[name] = report.numbers
        for table in report.tables:
            console.print(table, highlight=False, soft_wrap=isinstance(table, str))
    if options.out:
        write_numbers(options.out, numbers)
    return numbers
