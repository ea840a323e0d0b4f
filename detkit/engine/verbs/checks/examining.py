"""`doctor`: ``detkit doctor`` from Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detkit.engine.commands.doctor.doctor_command import parsed_options
from detkit.engine.commands.doctor.examination import run_checks
from detkit.engine.verbs.process_state import unchanged_process
from detkit.engine.verbs.settings import Data, as_arguments, data_settings, device_settings
from detkit.engine.verbs.training import Recipe, recipe_arguments
from detkit.engine.verbs.wording import in_words_of_python
from detkit.models import VisionModel
from detkit.trust.doctor.findings import Check, Finding


def doctor(
    recipe: Recipe | None = None,
    data: Data | None = None,
    *,
    skip: Sequence[Check] = (),
    images: int = 500,
    steps: int = 60,
    checkpoint: str | Path | None = None,
    out: str | Path | None = None,
    device: str | int | None = None,
    **settings: Any,
) -> list[Finding]:
    """Check a recipe on its data before training, as ``detkit doctor`` does: prints and returns what each check finds.

    Args:
        recipe: as of `detkit.train`; a model is examined as it is, and stays so.
        data: as of `detkit.train`.
        skip: names of checks to skip.
        images: maximum number of images of a split to examine.
        steps: maximum number of steps to overfit a few images.
        checkpoint: a checkpoint or run whose classes must match those of the data.
        out: a JSON file for all findings.
        device: as of `detkit.train`.
        settings: as of `detkit.train`.

    Returns:
        The finding of each check, with ``check``, ``verdict`` (``passed``, ``warning``, ``failed``, ``skipped``),
        ``sentence``, ``notes`` and ``numbers``.

    Raises:
        InputError: the recipe is wrong, or none of its data can be read.
    """
    given = {**data_settings(data), **settings, **device_settings(device)}
    files = {"checkpoint": checkpoint, "out": out}
    own = [
        f"--{name}={value}" for name, value in {"images": images, "steps": steps, **files}.items() if value is not None
    ]
    own += [f"--skip={name}" for name in skip]
    with unchanged_process(), in_words_of_python():
        options, training = parsed_options([*recipe_arguments(recipe, given), *as_arguments(given), *own])
        return run_checks(options, training, recipe if isinstance(recipe, VisionModel) else None)
