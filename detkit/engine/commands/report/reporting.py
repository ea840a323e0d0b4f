"""What ``detkit report`` does after its arguments are parsed: evaluate, make the sections, write the page."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich import get_console

from detkit.data import DataModule
from detkit.engine.callbacks.progress import quiet_lightning
from detkit.engine.checkpoint import Checkpoint
from detkit.engine.commands.evaluation.evaluation_pass import evaluation_pass
from detkit.engine.commands.report.run_facts import environment, made, recipe_text, run_folder, sources_section
from detkit.engine.config.command_line import read_named_checkpoint
from detkit.engine.config.evaluator_entries import complete_entries, factories, task_entries
from detkit.engine.config.parser import ParsedCommand, command_parser
from detkit.engine.evaluators import make_evaluators, recorded_evaluators
from detkit.errors import InputError
from detkit.files import write_whole
from detkit.models import VisionModel
from detkit.reporting import Evaluated, Page, PageOptions, Section, page_html
from detkit.reporting.sections.run_sections import facts_section, recipe_section, training_section
from detkit.tasks import task_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReportingOptions:
    """The arguments of ``detkit report``."""

    run: str
    out: str | None
    split: Literal["val", "test"]
    images: int
    image_size: int
    score_threshold: float
    bootstrap: int
    device: str
    trust: list[str]

    @property
    def page(self) -> PageOptions:
        """What the page shows.

        Raises:
            InputError: one sample is asked for, which has no spread.
        """
        if self.bootstrap == 1:
            raise InputError("--bootstrap is 1: give 0 for no intervals, or 2 or more.")
        return PageOptions(self.images, self.image_size, self.score_threshold, self.bootstrap)


def report(options: ReportingOptions, of_data: Sequence[str]) -> None:
    """Evaluate a checkpoint and write its page.

    Args:
        options: the arguments.
        of_data: arguments of the data, as on a command line.

    Raises:
        InputError: an option, the checkpoint or the data is wrong.
    """
    page_options = options.page
    quiet_lightning()
    checkpoint, data = _opened(options, of_data)
    model = checkpoint.model(trust=options.trust)
    evaluated = _evaluated(checkpoint, model, data, options, page_options)
    if evaluated is None:
        return
    sections = [*task_of(model).report(evaluated), *_run_sections(checkpoint)]
    kind = type(model).__name__
    subtitle = (
        f"{kind} ({task_of(model).name}), {len(checkpoint.categories)} classes, {len(evaluated.dataset)} images of "
        f"{options.split}: {evaluated.dataset.annotations_path}"
    )
    page = Page(f"{run_folder(checkpoint.path).name or kind}: {checkpoint.path.name}", subtitle, sections, made())
    out = Path(options.out) if options.out else checkpoint.path.parent / "report.html"
    write_whole(out, page_html(page).encode("utf-8", errors="backslashreplace"))
    for section in sections:
        if section.summary:
            get_console().print(section.summary, highlight=False, markup=False, soft_wrap=True)
    get_console().print(f"{out} ({out.stat().st_size / 1e6:.1f} MB)", highlight=False, markup=False, soft_wrap=True)


def _opened(options: ReportingOptions, of_data: Sequence[str]) -> tuple[Checkpoint, DataModule]:
    """The checkpoint, and the data that it was trained with, changed by the command line."""
    parser = command_parser("report", "RUN [--data.KEY VALUE ...]", "")
    parser.add_class_arguments(DataModule, "data", skip={"seed", "eval_split"})
    trusted = [word for package in options.trust for word in ("--trust", package)]
    checkpoint = read_named_checkpoint(parser, ["--checkpoint", options.run, *trusted, *of_data])
    if checkpoint is None:
        raise InputError(f"{options.run} names no checkpoint.")
    data: DataModule = ParsedCommand.of(parser, of_data).build()["data"]
    data.eval_split = options.split
    return checkpoint, data


def _evaluated(
    checkpoint: Checkpoint, model: VisionModel, data: DataModule, options: ReportingOptions, page: PageOptions
) -> Evaluated | None:
    """The evaluators after a pass over the split; None on all processes but the first."""
    entries = recorded_evaluators(checkpoint, options.trust) or complete_entries(task_entries(model))
    dataset = checkpoint.dataset(data, model, options.split)
    evaluators = make_evaluators(model, factories(entries), dataset.ground_truth(), checkpoint.categories)
    if not evaluation_pass(model, evaluators, data, options.device):
        return None
    return Evaluated(evaluators, dataset, page)


def _run_sections(checkpoint: Checkpoint) -> list[Section]:
    metrics = checkpoint.path.parent / "metrics.csv"
    sections = [training_section(metrics)] if metrics.is_file() else []
    if text := recipe_text(checkpoint):
        sections.append(recipe_section(text))
    return [
        *sections,
        facts_section("environment", "Environment", environment(checkpoint)),
        sources_section(checkpoint),
    ]
