"""What ``detkit verify`` does after its arguments are parsed: one pass over the data, then certificates."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich import get_console
from torch import Tensor

from detkit.data import DataModule
from detkit.data.image_dataset import ImageDataset
from detkit.engine.callbacks.progress import quiet_lightning
from detkit.engine.checkpoint import Checkpoint
from detkit.engine.commands.evaluate import parsed_evaluation
from detkit.engine.commands.evaluation.evaluating import evaluator_factories
from detkit.engine.config.parser import ParsedCommand
from detkit.engine.evaluators import make_evaluators
from detkit.errors import InputError
from detkit.evaluation import Evaluator
from detkit.evaluation.tables.detection_report import write_numbers
from detkit.evaluation.tables.printed_tables import print_table
from detkit.exporting.runtimes import open_exported
from detkit.files import check_writable
from detkit.models import VisionModel
from detkit.structures import Target
from detkit.tasks import task_of
from detkit.trust.certificate import Certificate, Examination
from detkit.trust.certificate.certificate import CALLED
from detkit.trust.certificate.certificate_report import certificates_content, difference_table, lines, numbers_table
from detkit.trust.certificate.parting import PartingFinder
from detkit.trust.certificate.selected_images import SelectedImages
from detkit.trust.comparison import Comparison, check_samples, compare

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class VerifyOptions:
    """The arguments of ``detkit verify``."""

    files: list[str]
    checkpoint: str
    split: str
    evaluators: str | None
    images: int | None
    allow: float
    bootstrap: int
    confidence: float
    out: str | None
    trust: list[str]

    def check(self) -> None:
        """Raise an `InputError` where one is out of range."""
        check_samples(self.bootstrap, self.confidence)
        if self.images is not None and self.images < 1:
            raise InputError(f"--images must be at least 1, got {self.images}.")
        if not self.allow >= 0:
            raise InputError(f"--allow must be 0 or more, got {self.allow}.")
        if self.out is not None:
            check_writable(self.out)

    def evaluation_arguments(self) -> list[str]:
        """What ``detkit eval`` would take."""
        evaluators = [] if self.evaluators is None else [f"--evaluators={self.evaluators}"]
        trusted = [f"--trust={package}" for package in self.trust]
        return [f"--checkpoint={self.checkpoint}", f"--split={self.split}", *evaluators, *trusted]


def verify_files(options: VerifyOptions, of_data: Sequence[str]) -> list[Certificate]:
    """Compare the files with their checkpoint, print what is found, and write the JSON file.

    Raises:
        InputError: an option, the checkpoint, the data or a file cannot be used.
    """
    options.check()
    quiet_lightning()
    files = [open_exported(path) for path in options.files]
    checkpoint, parsed, evaluation = parsed_evaluation([*options.evaluation_arguments(), *of_data])
    model = checkpoint.model(trust=options.trust)
    left_out = model.left_out_of_graphs
    model.answer_as_graph_()
    data, dataset = _data(parsed, checkpoint, model, options)
    makers = evaluator_factories(model, evaluation, checkpoint)
    truth = dataset.ground_truth()

    def evaluators() -> dict[str, Evaluator]:
        made = make_evaluators(model, makers, truth, checkpoint.categories)
        return {name: one for name, one in made.items() if one.reads in task_of(model).exported_parts}

    own = evaluators()
    _say_left_out(make_evaluators(model, makers, truth, checkpoint.categories), own, model)
    finder = PartingFinder(model)
    examinations = [Examination(file, model, evaluators(), finder, left_out) for file in files]
    logger.info("comparing %d images of %s", len(dataset), dataset.annotations_path)
    for images, targets, answers in _answers(model, data, dataset):
        for evaluator in own.values():
            evaluator.update(targets, answers)
        for one in examinations:
            one.add(images, targets, answers)
    certificates = [_certificate(one, own, options) for one in examinations]
    if options.out:
        described = {"source": str(dataset.annotations_path), "split": options.split, "images": len(dataset)}
        write_numbers(Path(options.out), certificates_content(certificates, checkpoint.path, described))
    _print(certificates)
    return certificates


def _say_left_out(evaluators: Mapping[str, Evaluator], kept: Mapping[str, Evaluator], model: VisionModel) -> None:
    """Log which evaluators cannot read the answers of exported files.

    Raises:
        InputError: none can.
    """
    left_out = {name: one.reads for name, one in evaluators.items() if name not in kept}
    for name, part in left_out.items():
        logger.info("%s is not compared: files of the %s have no %s", name, type(model).__name__, part)
    if left_out and not kept:
        missing = " and no ".join(sorted(set(left_out.values())))
        raise InputError(
            f"No evaluator is left, since files of the {type(model).__name__} have no {missing}: name others with "
            "--evaluators, such as [CocoEvaluator]."
        )


def _data(
    parsed: ParsedCommand, checkpoint: Checkpoint, model: VisionModel, options: VerifyOptions
) -> tuple[DataModule, ImageDataset]:
    data: DataModule = parsed.build()["data"]
    split: Any = options.split
    data.eval_split = split
    dataset = checkpoint.dataset(data, model, split)
    return data, dataset if options.images is None else SelectedImages(dataset, options.images)


@torch.inference_mode()
def _answers(
    model: VisionModel, data: DataModule, dataset: ImageDataset
) -> Iterator[tuple[list[Tensor], list[Target], Sequence[Any]]]:
    """The images of the data with their targets and the answers of the model, in batches."""
    network = model.folded()
    for images, targets in data.loader_of(dataset):
        given = {"given": targets} if model.asks_for else {}
        yield list(images), list(targets), network(list(images), **given)


def _certificate(examination: Examination, own: Mapping[str, Evaluator], options: VerifyOptions) -> Certificate:
    compared: dict[str, Comparison] = {}
    if examination.images and not examination.skipped:
        compared = {
            name: compare(evaluator, examination.evaluators[name], CALLED, options.bootstrap, options.confidence)
            for name, evaluator in own.items()
        }
    return examination.certificate(compared, options.allow)


def _print(certificates: Sequence[Certificate]) -> None:
    console = get_console()
    print_table(console, numbers_table(list(certificates)))
    for one in certificates:
        print_table(console, difference_table(one))
        for line in lines(one):
            console.print(line, highlight=False, soft_wrap=True, markup=False)
