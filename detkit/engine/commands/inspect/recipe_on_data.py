"""A recipe on the data that is inspected: the levels of its network, its anchors, its augmentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import yaml

from detkit.data.faults.problem import LEVELS, Problem
from detkit.data.loading import TrainingDataset
from detkit.engine.commands.anchors.recipe_model import without_weights
from detkit.engine.commands.doctor.examination import LENIENT, subject_of
from detkit.engine.commands.train import training_arguments
from detkit.engine.config.recipe import build_recipe
from detkit.errors import InputError
from detkit.files import read_yaml, write_into
from detkit.recipes import recipe_path
from detkit.reporting import Section, StripImage, image_strip
from detkit.trust.doctor.subject import Subject
from detkit.trust.inspection import Inspection
from detkit.trust.inspection.recipe_levels import MOST_IMAGES, recipe_findings

_IMAGE_SIDE = 480


def with_recipe(
    inspection: Inspection, recipe: str, of_data: Sequence[str], previews: int
) -> tuple[Inspection, list[Section]]:
    """The inspection with what the recipe makes of the data, and a section of its augmented images.

    Args:
        inspection: of the data.
        recipe: its name, or a file.
        of_data: arguments of the data.
        previews: the number of augmented images.

    Raises:
        InputError: there is no such recipe.
    """
    path = recipe_path(recipe)
    try:
        subject = recipe_subject(path, [*of_data, *(LENIENT if inspection.of_level("error") else ())])
        tables, problems = recipe_findings(subject)
        shown = preview_images(subject, previews)
    except InputError as error:
        advice = "correct the data, or choose a recipe for it: `detkit recipes` lists all"
        refused = Problem("recipe_refuses_data", "error", "train", 1, f"{recipe}: {error}", advice)
        return _joined(inspection, [], [refused]), []
    title = f"Training images of {recipe}, as its augmentation gives them"
    strip = [Section("augmentation", "Augmentation", [image_strip(title, shown, _IMAGE_SIDE)])] if shown else []
    return _joined(inspection, tables, problems), strip


def _joined(inspection: Inspection, tables: Sequence, problems: Sequence[Problem]) -> Inspection:
    every = sorted([*inspection.problems, *problems], key=lambda problem: LEVELS.index(problem.level))
    return replace(inspection, tables=[*inspection.tables, *tables], problems=every)


def recipe_subject(path: Path, of_data: Sequence[str]) -> Subject:
    """The recipe on the data, without its weights, which would be read or downloaded for nothing.

    Raises:
        InputError: the data is not for the recipe.
    """
    with TemporaryDirectory() as folder:
        content = yaml.safe_dump(without_weights(read_yaml(path)), allow_unicode=True)
        write_into(Path(folder), path.name, content)
        recipe = build_recipe(training_arguments([f"--config={Path(folder) / path.name}", *of_data]))
    return subject_of(recipe, MOST_IMAGES, steps=1)


def preview_images(subject: Subject, count: int) -> list[list[StripImage]]:
    """Training images after mixing and augmentation, with their targets drawn, spread evenly."""
    data, task = subject.data, subject.task
    augmented = TrainingDataset(data.train_dataset, data.augmentation, data.seed, data.mixing, data.mixing_epochs)
    shown = []
    for index in subject.some(data.train_dataset, count):
        image, target = augmented[index, 0]
        pixels = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
        drawn = task.draw_truth(pixels, target, data.categories)
        shown.append([StripImage(f"image {target.image_id!r}", drawn)])
    return shown
