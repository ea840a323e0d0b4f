"""Evaluating a checkpoint or a file of detections, and reporting the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import get_console

from detkit.data import DataModule
from detkit.data.image_dataset import ImageDataset
from detkit.engine.callbacks.progress import quiet_lightning
from detkit.engine.checkpoint import Checkpoint
from detkit.engine.commands.evaluation.evaluation_options import EvaluationOptions
from detkit.engine.commands.evaluation.evaluation_pass import evaluation_pass
from detkit.engine.config.evaluator_entries import (
    Entry,
    EvaluatorFactory,
    check_named,
    complete_entries,
    entries_named,
    factories,
    task_entries,
    with_arguments,
)
from detkit.engine.config.parser import ParsedCommand, write_json
from detkit.engine.evaluators import by_name, make_evaluators, recorded_evaluators
from detkit.errors import InputError
from detkit.evaluation import Evaluator
from detkit.evaluation.tables.detection_report import write_numbers
from detkit.evaluation.tables.printed_tables import print_table
from detkit.files import check_writable
from detkit.models import VisionModel
from detkit.tasks import task_of, task_of_results


def evaluate_file(options: EvaluationOptions) -> dict[str, Evaluator]:
    """The evaluators of a file of detections, by name, after their computation.

    Raises:
        InputError: a file is missing or wrong, or no evaluator has what an option asks for.
    """
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


def evaluate_checkpoint(
    checkpoint: Checkpoint, parsed: ParsedCommand, options: EvaluationOptions, model: VisionModel | None
) -> dict[str, Evaluator] | None:
    """The evaluators after a pass over the data; None on all processes but the first."""
    prepared = prepare(checkpoint, parsed, options, model)
    _check_extras(options, prepared.evaluators, prepared.model)
    return prepared.evaluators if prepared.run() else None


@dataclass(frozen=True, eq=False)
class PreparedEvaluation:
    """A model, the data and its evaluators before the pass over the data.

    Args:
        model: what is evaluated.
        data: its evaluated split is open.
        dataset: that split.
        evaluators: by name, without answers.
        device: as of `evaluation_pass`.
        precision: likewise.
    """

    model: VisionModel
    data: DataModule
    dataset: ImageDataset
    evaluators: dict[str, Evaluator]
    device: str
    precision: str

    def run(self) -> bool:
        """Evaluate; gives whether this is the first process, which has the numbers."""
        return evaluation_pass(self.model, self.evaluators, self.data, self.device, self.precision)


def prepare(
    checkpoint: Checkpoint, parsed: ParsedCommand, options: EvaluationOptions, model: VisionModel | None = None
) -> PreparedEvaluation:
    """Build all that an evaluation of a checkpoint needs.

    Raises:
        InputError: the checkpoint, the data or an option is wrong.
    """
    quiet_lightning()
    model = model or checkpoint.model(trust=options.trust)
    makers = evaluator_factories(model, options, checkpoint)
    data: DataModule = parsed.build()["data"]
    data.eval_split = options.split
    dataset = checkpoint.dataset(data, model, options.split)
    evaluators = make_evaluators(model, makers, dataset.ground_truth(), checkpoint.categories)
    return PreparedEvaluation(model, data, dataset, evaluators, options.device, options.precision)


def evaluator_factories(
    model: VisionModel, options: EvaluationOptions, checkpoint: Checkpoint
) -> list[EvaluatorFactory]:
    """What builds the evaluators of a checkpoint.

    Raises:
        InputError: an option names an evaluator that the model cannot have.
    """
    return _factories(_entries(model, options, checkpoint), options)


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
    """Refuse to compute what none of the evaluators has, or what no file could hold."""
    for extra in [*options.report.extras(), *(["save_detections"] if options.save_detections else [])]:
        if not any(extra in evaluator.extras for evaluator in evaluators.values()):
            task = task_of_results() if model is None else task_of(model)
            raise InputError(task.refusal(f"--{extra}", "file" if model is None else type(model).__name__))
    for path in (options.out, options.save_detections, options.curves, options.confusion):
        if path is not None:
            check_writable(path)


def report(evaluators: Mapping[str, Evaluator], options: EvaluationOptions) -> dict[str, Any]:
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
            print_table(console, table)
    if options.out:
        write_numbers(options.out, numbers)
    return numbers
