"""``detkit doctor``: builds the recipe, runs the checks, prints and writes what they find."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import seed_everything
from rich import get_console
from rich.console import Console
from rich.table import Table
from torch.optim import Optimizer

from detkit.engine.checkpoint import Checkpoint
from detkit.engine.commands.doctor.doctor_command import DoctorOptions
from detkit.engine.commands.train import training_arguments
from detkit.engine.config.parser import check_precision, write_json
from detkit.engine.config.recipe import Recipe, build_recipe, with_model
from detkit.engine.config.trust import packages_of
from detkit.engine.evaluators import make_evaluators
from detkit.engine.optim import apply_lr_factors, check_lr_factors, group_parameters, scale_learning_rates
from detkit.engine.phases import named_parameters, parameters_of_phases
from detkit.engine.starting.start_from import start_from
from detkit.engine.trainer.failures import in_one_sentence
from detkit.engine.training_loop import check_sources
from detkit.errors import InputError
from detkit.evaluation import Evaluator
from detkit.evaluation.tables.printed_tables import print_table
from detkit.files import check_writable
from detkit.learners import Learner, Phase
from detkit.models import VisionModel
from detkit.structures import Category
from detkit.tasks import task_of
from detkit.trust.doctor.checklist import examine
from detkit.trust.doctor.data_checks import unreadable
from detkit.trust.doctor.findings import Finding
from detkit.trust.doctor.subject import Subject

_STYLES = {"passed": "green", "warning": "yellow", "failed": "red", "skipped": "dim"}
LENIENT = ("--data.on_bad_box=skip", "--data.on_bad_image=skip")
"""With these, data is read as far as it can be."""


def run_checks(options: DoctorOptions, argv: Sequence[str], model: VisionModel | None = None) -> list[Finding]:
    """Run the checks of a command line, print what they find, and return it.

    Args:
        options: of the command itself.
        argv: arguments of ``detkit train``.
        model: is examined in place of the one that the command line describes, which must be the same.

    Raises:
        InputError: the recipe is wrong, or none of its data can be read.
    """
    _check(options)
    console, findings = get_console(), []
    recipe, error = _recipe(argv)
    if model is not None:
        recipe = with_model(recipe, copy.deepcopy(model))
    with console.status("doctor") as status, _quiet_evaluators():
        subject = subject_of(
            recipe, options.images, options.steps, options.checkpoint, progress=lambda text: status.update(text)
        )
        if error is not None:
            findings.append(unreadable(subject, error))
            show(console, findings[-1])
        skip = {*options.skip, *(["annotations"] if error is not None else [])}
        for finding in examine(subject, skip):
            if error is not None and finding.check == "annotations":
                continue
            show(console, finding)
            findings.append(finding)
            if options.out:  # after each, since a later check can end the process, as memory does that runs out
                write_json(options.out, written(findings))
    failed = failed_checks(findings)
    console.print(
        f"failed: {', '.join(failed)}" if failed else "no check failed", style=_STYLES["failed" if failed else "passed"]
    )
    return findings


def _check(options: DoctorOptions) -> None:
    for name in ("images", "steps"):
        if getattr(options, name) < 1:
            raise InputError(f"--{name} is {getattr(options, name)}: give at least 1.")
    if options.out is not None:
        check_writable(options.out)


@contextmanager
def _quiet_evaluators() -> Iterator[None]:
    """Leave out warnings of numbers that mean little, which few images give."""
    evaluators = logging.getLogger("detkit.evaluation")
    level = evaluators.level
    evaluators.setLevel(logging.ERROR)
    try:
        yield
    finally:
        evaluators.setLevel(level)


def written(findings: Sequence[Finding]) -> dict[str, Any]:
    """The content of the file of all findings."""
    return {"failed": failed_checks(findings), "checks": {one.check: one.entry() for one in findings}}


def failed_checks(findings: Sequence[Finding]) -> list[str]:
    """The names of the checks that have failed."""
    return [finding.check for finding in findings if finding.verdict == "failed"]


def _recipe(argv: Sequence[str]) -> tuple[Recipe, InputError | None]:
    """The recipe; where its data cannot be read, that of the part which can, with the error."""
    seed_everything(0, workers=True, verbose=False)
    try:
        return _opened(argv), None
    except InputError as error:
        try:
            return _opened([*argv, *LENIENT]), error
        except InputError:
            raise error from None


def _opened(argv: Sequence[str]) -> Recipe:
    """The recipe, with both splits of its data read."""
    recipe = build_recipe(training_arguments(argv))
    for split in ("train", recipe.data.eval_split):
        recipe.data.dataset(split)
    return recipe


def subject_of(
    recipe: Recipe,
    images: int,
    steps: int,
    checkpoint: str | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Subject:
    """The recipe as the checks take it.

    Args:
        recipe: with its data.
        images: the most images of a split that are examined.
        steps: the most steps of a trial.
        checkpoint: one that is to fit the data.
        progress: told what is being done.

    Raises:
        InputError: the data lacks what the model learns from, or an evaluator does not fit.
    """
    model, data, optimization = recipe.model, recipe.data, recipe.optimization
    task = task_of(model)
    check_sources(optimization.learner, data)
    if optimization.learner.reads_targets:
        task.check_data(model, data)
    model.categories = data.categories
    source = recipe.run.start_from or recipe.run.resume
    started = start_from(model, source, packages_of(recipe.resolved["model"])) if source else None
    precision = recipe.trainer.get("precision") or "32-true"
    check_precision("trainer.precision", precision)

    def optimizers(trained: VisionModel, learner: Learner, phases: Sequence[Phase]) -> list[Optimizer]:
        check_lr_factors(optimization.lr_factors, named_parameters(trained, learner))
        made = []
        for phase, named in zip(phases, parameters_of_phases(phases, trained, learner), strict=True):
            groups = group_parameters(named, optimization.decay_norm_and_bias, optimization.lr_factors)
            with in_one_sentence("optimizer"):
                optimizer = (phase.optimizer or optimization.optimizer)(groups)
            apply_lr_factors(optimizer)
            if optimization.lr_batch_size is not None:
                images = data.batch_size * (recipe.trainer.get("accumulate_grad_batches") or 1)
                scale_learning_rates(optimizer, images / optimization.lr_batch_size)
            made.append(optimizer)
        return made

    def evaluators(truth: Any) -> Mapping[str, Evaluator]:
        return make_evaluators(model, recipe.evaluators, truth, data.categories)

    return Subject(
        model=model,
        data=data,
        task=task,
        make_evaluators=evaluators,
        learner=optimization.learner,
        make_optimizers=optimizers,
        started=started,
        precision=str(precision),
        gradient_clip=recipe.trainer.get("gradient_clip_val"),
        device=_device(recipe.trainer.get("accelerator", "auto")),
        images=images,
        steps=steps,
        seed=recipe.run.seed,
        checkpoint=_checkpoint(checkpoint),
        progress=progress,
    )


def _checkpoint(path: str | None) -> tuple[Path, Sequence[Category]] | None:
    if path is None:
        return None
    checkpoint = Checkpoint.read(path)
    return checkpoint.path, checkpoint.categories


def _device(accelerator: Any) -> torch.device:
    """The device of a trainer's accelerator."""
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps") if accelerator == "mps" else torch.device("cpu")


def show(console: Console, finding: Finding) -> None:
    """Print a finding: its verdict, what was found, and what to do."""
    style = _STYLES[finding.verdict]
    console.print(f"[{style}]{finding.verdict:8}[/{style}] {finding.check}: ", end="", highlight=False)
    console.print(finding.sentence, soft_wrap=True, highlight=False, markup=False)
    stages = finding.numbers.get("stages")
    if stages:
        print_table(console, _table(stages))
    for note in finding.notes:
        console.print(f"         - {note}", soft_wrap=True, highlight=False, markup=False)


def _table(stages: Sequence[Mapping[str, Any]]) -> Table:
    """The ceiling after each stage."""
    names = [name for name in stages[0] if name not in ("stage", "lost")]
    table = Table("stage", "objects lost", *(f"ceiling {name}" for name in names))
    for stage in stages:
        table.add_row(stage["stage"], str(stage["lost"] or ""), *(f"{stage[name]:.3f}" for name in names))
    return table
