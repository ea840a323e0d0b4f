"""``detkit eval``: COCO's, VOC's or ILSVRC's numbers of a checkpoint, or of a file of detections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from jsonargparse import ArgumentParser, Namespace
from lightning.pytorch import Trainer
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from rich import get_console
from torch.optim import SGD

from detkit.data import DataModule
from detkit.engine.building import build
from detkit.engine.checkpoint import check_categories, check_trusted, checkpoint_path, load, read_checkpoint
from detkit.engine.command import check_precision, command_parser, parse, write_json
from detkit.engine.module import DetectionModule
from detkit.engine.old_configs import modernized
from detkit.engine.progress import progress_bar, quiet_lightning
from detkit.errors import InputError
from detkit.evaluation import (
    ClassificationEvaluator,
    CocoEvaluation,
    CocoEvaluator,
    ImageEvaluation,
    LocalizationEvaluator,
    VocEvaluation,
    VocEvaluator,
    analyse_errors,
    bootstrap,
    confusion_table,
    image_class_table,
    image_table,
    write_confusion,
)
from detkit.evaluation.annotations_file import read_ground_truth
from detkit.evaluation.detections_file import evaluate_detections_file, read_detections
from detkit.evaluation.evaluation import Backend
from detkit.evaluation.ground_truth import IouType
from detkit.evaluation.report import (
    coco_table,
    error_table,
    interval_table,
    per_class_table,
    plot_precision_recall,
    voc_table,
    write_metrics,
)
from detkit.evaluation.voc import VocProtocol, evaluate_voc
from detkit.models import Detector

DESCRIPTION = """Compute COCO's numbers, or PASCAL VOC's; of a classifier or localizer ILSVRC's.

Of a checkpoint, on the data that it was trained with or on another folder with the same classes; or, without a model,
of a file of detections in COCO's results format.

examples:
  tools/eval.py --checkpoint runs/shapes/best.ckpt --out metrics.json
  tools/eval.py --checkpoint runs/shapes/best.ckpt --data.root my/folder --split test --per_class
  tools/eval.py --annotations ground_truth.json --detections detections.json --iou_type segm
  tools/eval.py --checkpoint runs/voc/best.ckpt --data.root VOCdevkit/VOC2007 --split test --protocol voc2007
  tools/eval.py --checkpoint runs/shapes/best.ckpt --bootstrap 1000 --errors --curves curves.png
  tools/eval.py --checkpoint runs/imagenet/best.ckpt --data.root imagenet --confusion confusion.csv"""

Evaluation = CocoEvaluation | VocEvaluation | ImageEvaluation

EXPLICIT_PATHS = [f"{split}_{what}" for split in ("train", "val", "test") for what in ("images", "annotations")]


def evaluate_command(argv: Sequence[str]) -> None:
    """Parse the command line `argv`, evaluate, and print the tables."""
    parser = command_parser("eval", "--checkpoint CHECKPOINT [--KEY VALUE ...]", DESCRIPTION)
    add_arguments(parser)
    default_to_training_data(parser, argv)
    config = parse(parser, argv)
    _check_protocol(config)
    if config.errors and config.iou_type == ["keypoints"]:
        raise InputError("--errors is of boxes and masks; choose --iou_type bbox or segm.")
    if (config.checkpoint is None) == (config.detections is None):
        raise InputError("Give either --checkpoint, or --annotations and --detections; see --help.")
    evaluations = _evaluate_file(config) if config.checkpoint is None else _evaluate_checkpoint(parser, config)
    if evaluations is not None:
        _report(evaluations, config)


def _check_protocol(config: Namespace) -> None:
    """VOC judges boxes, and what else is computed is of COCO's evaluation."""
    if config.protocol == "coco":
        return
    for option in _coco_options(config):
        raise InputError(f"{option} is of COCO's evaluation: leave it out, or --protocol {config.protocol}.")


def _check_task(config: Namespace, model: Detector) -> None:
    """Whole images are judged in one way, and only they can be confused."""
    if model.task == "detection":
        if config.confusion:
            raise InputError(f"--confusion is of whole images, but the {type(model).__name__} detects: leave it out.")
        return
    given = {"--protocol": config.protocol != "coco", "--save_detections": config.save_detections}
    for option in [*_coco_options(config), *(option for option, is_given in given.items() if is_given)]:
        raise InputError(
            f"{option} is of detectors: leave it out, the {type(model).__name__} answers for whole images."
        )


def _coco_options(config: Namespace) -> list[str]:
    """The options that are given and belong to COCO's evaluation alone."""
    given = {
        "--iou_type": config.iou_type != ["bbox"],
        "--bootstrap": config.bootstrap,
        "--errors": config.errors,
        "--curves": config.curves,
    }
    return [option for option, is_given in given.items() if is_given]


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--checkpoint", type=str | None, help="a checkpoint, or a run's folder")
    parser.add_argument("--annotations", type=str | None, help="without a checkpoint: the ground truth")
    parser.add_argument("--detections", type=str | None, help="without a checkpoint: detections in COCO's format")
    parser.add_argument("--split", type=Literal["val", "test"], default="val", help="the part of the data to use")
    parser.add_argument(
        "--protocol", type=Literal["coco", VocProtocol], default="coco", help="COCO's numbers, or PASCAL VOC's of boxes"
    )
    parser.add_argument("--iou_type", type=IouType, nargs="+", default=["bbox"], help="what to compare")
    parser.add_argument(
        "--keypoint_sigmas", type=list[float] | None, help="of each keypoint; null: COCO's, of a person"
    )
    parser.add_argument("--backend", type=Backend, default="native", help="who computes the numbers")
    parser.add_argument("--out", type=str | None, help="write the numbers to this JSON file")
    parser.add_argument("--save_detections", type=str | None, help="write the detections to this JSON file")
    parser.add_argument("--per_class", action="store_true", help="print the numbers of each class too")
    parser.add_argument("--bootstrap", type=int, default=0, help="confidence intervals, from so many samples: 1000")
    parser.add_argument("--errors", action="store_true", help="print what kinds of errors cost how much AP (TIDE)")
    parser.add_argument("--curves", type=str | None, help="draw precision and recall to this PNG file")
    parser.add_argument("--confusion", type=str | None, help="write which class was taken for which: to a .png or .csv")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--precision", type=str, default="32-true", help="as Lightning's, such as bf16-mixed")
    parser.add_argument(
        "--trust", type=str, action="append", default=[], help="a package whose classes a checkpoint may name"
    )
    parser.add_class_arguments(DataModule, "data", skip={"seed", "eval_split"})


def default_to_training_data(parser: ArgumentParser, argv: Sequence[str]) -> None:
    """Let the data be what the checkpoint was trained with, as far as the command line does not say otherwise."""
    options = dict(argument.split("=", 1) if "=" in argument else (argument, None) for argument in argv)
    if "--checkpoint" not in options:
        return
    checkpoint = options["--checkpoint"] or argv[list(argv).index("--checkpoint") + 1 :][:1]
    if not checkpoint:
        return
    path = checkpoint_path(checkpoint if isinstance(checkpoint, str) else checkpoint[0])
    data = dict(read_checkpoint(path)["detkit"].get("config", {}).get("data", {}))
    data = modernized({"data": data})["data"]
    if data.get("dataset") and "--data.dataset" not in options:
        check_trusted(data["dataset"], _trusted(argv), path)
    if "--data.root" in options:
        data.update(dict.fromkeys((*EXPLICIT_PATHS, "format")))
    known = {action.dest for action in parser._actions}
    parser.set_defaults({key: value for key, value in _flat("data", data, known) if key in known})


def _trusted(argv: Sequence[str]) -> list[str]:
    """The packages that the command line trusts, before it is parsed."""
    named = [argument.split("=", 1)[1] for argument in argv if argument.startswith("--trust=")]
    return named + [value for option, value in pairwise(argv) if option == "--trust"]


def _flat(key: str, value: Any, known: set[str]) -> list[tuple[str, Any]]:
    """Nested values by dotted keys, down to those that the parser has."""
    if isinstance(value, Mapping) and not (key in known and key != "data"):
        return [pair for name, inner in value.items() for pair in _flat(f"{key}.{name}", inner, known)]
    return [(key, value)]


def _evaluate_file(config: Namespace) -> dict[str, Evaluation]:
    if config.annotations is None:
        raise InputError("--detections needs --annotations, the ground truth to compare them with.")
    if config.protocol != "coco":
        truth = read_ground_truth(config.annotations, "bbox")
        found = read_detections(config.detections, truth, "bbox")
        return {config.protocol: evaluate_voc(truth, found, config.protocol)}
    return {
        kind: evaluate_detections_file(
            config.annotations, config.detections, kind, config.keypoint_sigmas, backend=config.backend
        )
        for kind in config.iou_type
    }


def _evaluate_checkpoint(parser: ArgumentParser, config: Namespace) -> dict[str, Evaluation] | None:
    quiet_lightning()
    path = checkpoint_path(config.checkpoint)
    model = load(path, trust=config.trust)
    _check_task(config, model)
    data = build(parser, config).data
    data.eval_split = config.split
    data.read_for(model.learns_from, model.asks_for)
    data.class_names = data.class_names or [category.name for category in model.categories]
    dataset = data.eval_dataset
    check_categories(model.categories, dataset.categories, path, str(dataset.annotations_path))
    evaluators = _evaluators(config, dataset.ground_truth(), model)
    trainer = _trainer(config)
    trainer.validate(DetectionModule(model, SGD, evaluators=evaluators), data.val_dataloader(), verbose=False)
    if not trainer.is_global_zero:
        return None
    if config.save_detections:
        write_json(config.save_detections, next(iter(evaluators.values())).results())
    return {kind: evaluator.evaluation for kind, evaluator in evaluators.items()}


class Remembers:
    """Keeps the whole evaluation, from which tables and curves are made."""

    evaluation: Evaluation

    def compute(self) -> dict[str, float]:
        """The numbers by name."""
        self.evaluation = self.evaluate()
        return self.evaluation.metrics


class FullCocoEvaluator(Remembers, CocoEvaluator):
    """As COCO evaluates."""


class FullVocEvaluator(Remembers, VocEvaluator):
    """As PASCAL VOC evaluates."""


class FullClassificationEvaluator(Remembers, ClassificationEvaluator):
    """As ILSVRC evaluates classification."""


class FullLocalizationEvaluator(Remembers, LocalizationEvaluator):
    """As ILSVRC evaluates localization."""


def _evaluators(config: Namespace, truth: Path | dict, model: Detector) -> dict[str, Remembers]:
    categories = model.categories
    if model.task == "classification":
        return {model.task: FullClassificationEvaluator(truth, categories)}
    if model.task == "localization":
        return {model.task: FullLocalizationEvaluator(truth, categories)}
    if config.protocol != "coco":
        return {config.protocol: FullVocEvaluator(truth, config.protocol, categories=categories)}
    return {
        kind: FullCocoEvaluator(
            truth, kind, config.backend, keypoint_sigmas=config.keypoint_sigmas, categories=categories
        )
        for kind in config.iou_type
    }


def _trainer(config: Namespace) -> Trainer:
    kind, _, number = config.device.partition(":")
    check_precision("--precision", config.precision)
    bar = progress_bar(get_console())
    try:
        return Trainer(
            accelerator={"cuda": "gpu"}.get(kind, kind),
            devices=[int(number)] if number else 1,
            precision=config.precision,
            logger=False,
            callbacks=[bar] if bar else [],
            enable_progress_bar=bar is not None,
            enable_checkpointing=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise InputError(f"--device {config.device}, --precision {config.precision}: {error}") from error


def _report(evaluations: Mapping[str, Evaluation], config: Namespace) -> None:
    console = get_console()
    intervals, errors = {}, {}
    for kind, evaluation in evaluations.items():
        if isinstance(evaluation, VocEvaluation):
            console.print(voc_table(evaluation))
            continue
        if isinstance(evaluation, ImageEvaluation):
            _report_images(evaluation, config)
            continue
        console.print(f"COCO {kind}", highlight=False)
        console.print(coco_table(evaluation.metrics, kind), highlight=False, soft_wrap=True)
        if config.per_class:
            console.print(per_class_table(evaluation))
        if config.bootstrap:
            intervals[kind] = bootstrap(evaluation, config.bootstrap)
            console.print(interval_table(evaluation, intervals[kind]))
        if config.errors and kind != "keypoints":
            errors[kind] = analyse_errors(evaluation)
            console.print(error_table(evaluation, errors[kind]))
        if config.curves:
            plot_precision_recall(evaluation, _named(config.curves, kind, len(evaluations) > 1))
    if config.out:
        write_metrics(config.out, evaluations, config.per_class, intervals, errors)


def _report_images(evaluation: ImageEvaluation, config: Namespace) -> None:
    console = get_console()
    console.print(image_table(evaluation))
    if config.per_class:
        console.print(image_class_table(evaluation))
    console.print(confusion_table(evaluation))
    if config.confusion:
        write_confusion(evaluation, config.confusion)


def _named(path: str, kind: str, several: bool) -> Path:
    """`path`, with what is compared in its name where there are several."""
    return Path(path).with_stem(f"{Path(path).stem}_{kind}") if several else Path(path)
