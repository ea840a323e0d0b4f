"""What ``detkit report`` does after its arguments are parsed: evaluate, make the sections, write the page."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich import get_console

from detkit.engine.checkpoint import Checkpoint
from detkit.engine.commands.evaluate import prepared_evaluation
from detkit.engine.commands.report.run_facts import environment, made, recipe_text, run_folder, sources_section
from detkit.errors import InputError
from detkit.files import check_writable, write_whole
from detkit.reporting import Evaluated, Page, PageOptions, Section, page_html
from detkit.reporting.sections.run_sections import facts_section, recipe_section, training_section
from detkit.structures import Target
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
    def evaluation_arguments(self) -> list[str]:
        """What ``detkit eval`` would take for the same, apart from the data."""
        packages = [f"--trust={package}" for package in self.trust]
        return [f"--checkpoint={self.run}", f"--split={self.split}", f"--device={self.device}", *packages]

    @property
    def page(self) -> PageOptions:
        """What the page shows.

        Raises:
            InputError: one sample is asked for, which has no spread.
        """
        if self.bootstrap == 1:
            raise InputError("--bootstrap is 1: give 0 for no intervals, or 2 or more.")
        return PageOptions(self.images, self.image_size, self.score_threshold, self.bootstrap)


def report(options: ReportingOptions, of_data: Sequence[str]) -> Path:
    """Evaluate a checkpoint and write its page.

    Args:
        options: the arguments.
        of_data: arguments of the data, as on a command line.

    Returns:
        The page, which the first process writes.

    Raises:
        InputError: an option, the checkpoint or the data is wrong.
    """
    page_options = options.page
    checkpoint, prepared = prepared_evaluation([*options.evaluation_arguments, *of_data])
    out = Path(options.out) if options.out else checkpoint.path.parent / "report.html"
    check_writable(out)
    if not prepared.run():
        return out
    model = prepared.model

    def predict(images: Sequence[np.ndarray], targets: Sequence[Target]) -> Sequence[Any]:
        answers: Sequence[Any] = model.predict(images, given=targets if model.asks_for else None)
        return answers

    evaluated = Evaluated(prepared.evaluators, prepared.dataset, page_options, predict)
    task, kind = task_of(model), type(model).__name__
    sections = [*task.report(evaluated), *_run_sections(checkpoint, evaluated)]
    subtitle = (
        f"{kind} ({task.name}), {len(checkpoint.categories)} classes, {len(evaluated.dataset)} images of "
        f"{options.split}: {evaluated.dataset.annotations_path}"
    )
    page = Page(f"{run_folder(checkpoint.path).name or kind}: {checkpoint.path.name}", subtitle, sections, made())
    write_whole(out, page_html(page).encode("utf-8", errors="backslashreplace"))
    for section in sections:
        if section.summary:
            get_console().print(section.summary, highlight=False, markup=False, soft_wrap=True)
    get_console().print(f"{out} ({out.stat().st_size / 1e6:.1f} MB)", highlight=False, markup=False, soft_wrap=True)
    return out


def _run_sections(checkpoint: Checkpoint, evaluated: Evaluated) -> list[Section]:
    metrics = checkpoint.path.parent / "metrics.csv"
    sections = [training_section(metrics, evaluated.evaluators)] if metrics.is_file() else []
    if text := recipe_text(checkpoint):
        sections.append(recipe_section(text))
    return [
        *sections,
        facts_section("environment", "Environment", environment(checkpoint)),
        sources_section(checkpoint),
    ]
