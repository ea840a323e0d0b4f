"""``detkit eval``: COCO's, VOC's, ILSVRC's or your own numbers of a checkpoint, or of a file of detections."""

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
from detkit.engine.callbacks.progress import progress_bar, quiet_lightning
from detkit.engine.checkpoint import check_categories, checkpoint_path, load, read_checkpoint
from detkit.engine.config.old_configs import modernized
from detkit.engine.config.parser import check_precision, command_parser, parse, write_json
from detkit.engine.config.trust import check_trusted
from detkit.engine.evaluators import (
    OLD_KEYS,
    EvaluatorFactory,
    add_evaluators,
    by_name,
    check_named,
    entries_named,
    factories,
    make_evaluators,
    parsed_evaluators,
    task_entries,
    with_arguments,
)
from detkit.engine.module import DetectionModule
from detkit.errors import InputError
from detkit.evaluation import Evaluator, ReportOptions
from detkit.evaluation.coco.coco_evaluation import Backend
from detkit.evaluation.ground_truth import IouType
from detkit.evaluation.tables.detection_report import write_numbers
from detkit.evaluation.voc_evaluator import VocProtocol
from detkit.models import VisionModel
from detkit.tasks import task_of, task_of_results

DESCRIPTION = """Compute the numbers of a checkpoint: COCO's, PASCAL VOC's, ILSVRC's, or those of your own evaluators.

Of a checkpoint, on the data that it was trained with or on another folder with the same classes, by the evaluators that
its training was validated with; or, without a model, of a file of detections in COCO's results format.

examples:
  tools/eval.py --checkpoint runs/shapes/best.ckpt --out metrics.json
  tools/eval.py --checkpoint runs/shapes/best.ckpt --data.root my/folder --split test --per_class
  tools/eval.py --annotations ground_truth.json --detections detections.json --iou_type segm
  tools/eval.py --checkpoint runs/voc/best.ckpt --data.root VOCdevkit/VOC2007 --split test --protocol voc2007
  tools/eval.py --checkpoint runs/shapes/best.ckpt --evaluators '[CocoEvaluator, my_package.MyEvaluator]'
  tools/eval.py --checkpoint runs/shapes/best.ckpt --bootstrap 1000 --errors --curves curves.png
  tools/eval.py --checkpoint runs/imagenet/best.ckpt --data.root imagenet --confusion confusion.csv"""

EXPLICIT_PATHS = [f"{split}_{what}" for split in ("train", "val", "test") for what in ("images", "annotations")]


def evaluate_command(argv: Sequence[str]) -> None:
    """Parse the command line `argv`, evaluate, and print the tables."""
    parser = command_parser("eval", "--checkpoint CHECKPOINT [--KEY VALUE ...]", DESCRIPTION)
    add_arguments(parser)
    recipe = default_to_training_data(parser, argv)
    config = parse(parser, argv)
    _check_options(config)
    if (config.checkpoint is None) == (config.detections is None):
        raise InputError("Give either --checkpoint, or --annotations and --detections; see --help.")
    evaluators = _evaluate_file(config) if config.checkpoint is None else _evaluate_checkpoint(parser, config, recipe)
    if evaluators is not None:
        _report(evaluators, config)


def _check_options(config: Namespace) -> None:
    """Refuse options that contradict each other, before anything is read."""
    voc = None if config.protocol in (None, "coco") else config.protocol
    coco = {"--iou_type": config.iou_type not in (None, ["bbox"])}
    coco |= {f"--{name}": bool(getattr(config, name)) for name in ("bootstrap", "errors", "curves")}
    for option, is_given in coco.items():
        if voc and is_given:
            raise InputError(f"{option} is of COCO's evaluation: leave it out, or --protocol {voc}.")
    if config.errors and config.iou_type == ["keypoints"]:
        raise InputError("--errors is of boxes and masks; choose --iou_type bbox or segm.")
    for option in ("protocol", "iou_type"):
        if config.evaluators is not None and getattr(config, option) is not None:
            raise InputError(f"--evaluators and --{option} both say how to evaluate: leave out one.")


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--checkpoint", type=str | None, help="a checkpoint, or a run's folder")
    parser.add_argument("--annotations", type=str | None, help="without a checkpoint: the ground truth")
    parser.add_argument("--detections", type=str | None, help="without a checkpoint: detections in COCO's format")
    parser.add_argument("--split", type=Literal["val", "test"], default="val", help="the part of the data to use")
    add_evaluators(parser, "those that the checkpoint's training was validated with; of a file COCO's of boxes")
    parser.add_argument(
        "--protocol",
        type=Literal["coco", VocProtocol] | None,
        help="in place of --evaluators: COCO's numbers, or PASCAL VOC's of boxes",
    )
    parser.add_argument(
        "--iou_type", type=IouType, nargs="+", default=None, help="in place of --evaluators: COCO's numbers of these"
    )
    parser.add_argument(
        "--keypoint_sigmas",
        type=list[float] | None,
        help="for COCO's keypoints; null: those of a person",
    )
    parser.add_argument("--backend", type=Backend | None, help="who computes COCO's numbers; null: native code")
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


def default_to_training_data(parser: ArgumentParser, argv: Sequence[str]) -> dict[str, Any]:
    """Let the data be what the checkpoint was trained with, as far as the command line does not say otherwise.

    Returns:
        The whole recipe of that training; empty where there is none.
    """
    options = dict(argument.split("=", 1) if "=" in argument else (argument, None) for argument in argv)
    if "--checkpoint" not in options:
        return {}
    checkpoint = options["--checkpoint"] or argv[list(argv).index("--checkpoint") + 1 :][:1]
    if not checkpoint:
        return {}
    path = checkpoint_path(checkpoint if isinstance(checkpoint, str) else checkpoint[0])
    recipe = dict(read_checkpoint(path)["detkit"].get("config", {}))
    data = modernized({"data": recipe.get("data", {})})["data"]
    if data.get("dataset") and "--data.dataset" not in options:
        check_trusted(data["dataset"], _trusted(argv), path)
    if "--data.root" in options:
        data.update(dict.fromkeys((*EXPLICIT_PATHS, "format")))
    known = {action.dest for action in parser._actions}
    parser.set_defaults({key: value for key, value in _flat("data", data, known) if key in known})
    return recipe


def _trusted(argv: Sequence[str]) -> list[str]:
    """The packages that the command line trusts, before it is parsed."""
    named = [argument.split("=", 1)[1] for argument in argv if argument.startswith("--trust=")]
    return named + [value for option, value in pairwise(argv) if option == "--trust"]


def _flat(key: str, value: Any, known: set[str]) -> list[tuple[str, Any]]:
    """Nested values by dotted keys, down to those that the parser has."""
    if isinstance(value, Mapping) and not (key in known and key != "data"):
        return [pair for name, inner in value.items() for pair in _flat(f"{key}.{name}", inner, known)]
    return [(key, value)]


def _evaluate_file(config: Namespace) -> dict[str, Evaluator]:
    if config.annotations is None:
        raise InputError("--detections needs --annotations, the ground truth to compare them with.")
    names = _names(config)[1] or ["bbox"]
    chosen = _ready(config.evaluators or parsed_evaluators(entries_named(names)), config)
    evaluators = by_name([factory(config.annotations) for factory in chosen])
    for evaluator in evaluators.values():
        evaluator.read(config.detections)
    _check_extras(config, evaluators)
    for evaluator in evaluators.values():
        evaluator.compute()
    return evaluators


def _evaluate_checkpoint(
    parser: ArgumentParser, config: Namespace, recipe: Mapping[str, Any]
) -> dict[str, Evaluator] | None:
    quiet_lightning()
    path = checkpoint_path(config.checkpoint)
    model = load(path, trust=config.trust)
    chosen = _ready(_chosen(model, config, recipe, path), config)
    data = build(parser, config).data
    data.eval_split = config.split
    data.read_for(model.learns_from, model.asks_for)
    data.class_names = data.class_names or [category.name for category in model.categories]
    dataset = data.eval_dataset
    check_categories(model.categories, dataset.categories, path, str(dataset.annotations_path))
    evaluators = make_evaluators(model, chosen, dataset.ground_truth(), model.categories)
    _check_extras(config, evaluators, model)
    trainer = _trainer(config)
    trainer.validate(DetectionModule(model, SGD, evaluators=evaluators), data.val_dataloader(), verbose=False)
    return evaluators if trainer.is_global_zero else None


def _names(config: Namespace) -> tuple[str, list[str]]:
    """The option that names evaluators in short, and the names; none where there is no such option."""
    if config.protocol in (None, "coco"):
        return "--iou_type", config.iou_type or ([] if config.protocol is None else ["bbox"])
    return "--protocol", [config.protocol]


def _chosen(model: VisionModel, config: Namespace, recipe: Mapping[str, Any], path: Path) -> list[Namespace]:
    """The evaluators of the command line, in full or in short, else those of the recipe, else those of the task."""
    option, names = _names(config)
    if config.evaluators is not None:
        return config.evaluators
    if names:
        check_named(option, names, model)
        return parsed_evaluators(entries_named(names))
    return _recorded(recipe, config, path) or parsed_evaluators(task_entries(model))


def _recorded(recipe: Mapping[str, Any], config: Namespace, path: Path) -> list[Namespace] | None:
    """The evaluators of the checkpoint's recipe, if it names any; nothing is imported that is not trusted."""
    names, sigmas = (recipe.get(name) for name in OLD_KEYS)
    entries = recipe.get("evaluators") or entries_named(names or [])
    check_trusted(entries, config.trust, path)
    return with_arguments(parsed_evaluators(entries), keypoint_sigmas=sigmas) if entries else None


def _ready(parsed: Sequence[Namespace], config: Namespace) -> list[EvaluatorFactory]:
    return factories(with_arguments(parsed, backend=config.backend, keypoint_sigmas=config.keypoint_sigmas))


def _check_extras(config: Namespace, evaluators: Mapping[str, Evaluator], model: VisionModel | None = None) -> None:
    """Refuse to compute what none of the evaluators has."""
    for extra in [*_report_options(config).extras(), *(["save_detections"] if config.save_detections else [])]:
        if not any(extra in evaluator.extras for evaluator in evaluators.values()):
            task = task_of_results() if model is None else task_of(model)
            raise InputError(task.refusal(f"--{extra}", "file" if model is None else type(model).__name__))


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


def _report(evaluators: Mapping[str, Evaluator], config: Namespace) -> None:
    console, options, numbers = get_console(), _report_options(config), {}
    for name, evaluator in evaluators.items():
        report = evaluator.report(evaluator.evaluation, options.named(name) if len(evaluators) > 1 else options)
        numbers[name] = report.numbers
        for table in report.tables:
            console.print(table, highlight=False, soft_wrap=isinstance(table, str))
    if config.out:
        write_numbers(config.out, numbers)
    if config.save_detections:
        with_results = next(one for one in evaluators.values() if "save_detections" in one.extras)
        write_json(config.save_detections, with_results.results())


def _report_options(config: Namespace) -> ReportOptions:
    return ReportOptions(
        per_class=config.per_class,
        bootstrap=config.bootstrap,
        errors=config.errors,
        curves=Path(config.curves) if config.curves else None,
        confusion=Path(config.confusion) if config.confusion else None,
    )
