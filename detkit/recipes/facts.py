"""What is known of each recipe: ``zoo.json`` beside the recipes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detkit.errors import InputError
from detkit.files import read_json
from detkit.recipes.recipe_files import recipe_folder, recipe_names


@dataclass(frozen=True)
class Facts:
    """The facts of a recipe; None and empty where they are not known.

    Args:
        task: such as ``detection`` or ``instance segmentation``.
        model: the class of the model.
        backbone: its name.
        input: the size of the network's input in pixels, such as ``800-1333``.
        parameters: their number, with `classes` classes.
        classes: the number of classes that `parameters` and `macs` are for.
        macs: multiply-adds for one image.
        published: ``metric``, ``value``, ``data`` and ``source`` of the published result.
        own: the result of a training with detkit: ``data``, ``metric``, ``value``, ``interval``, ``time``, ``machine``.
        inference: ``seconds`` per image, ``peer`` and ``peer_seconds`` of another implementation, ``machine``.
        weights: published weights that a training can start from, as values of ``start_from``.
        weights_license: the license of these weights.
    """

    task: str | None = None
    model: str | None = None
    backbone: str | None = None
    input: str | None = None
    parameters: int | None = None
    classes: int | None = None
    macs: int | None = None
    published: Mapping[str, Any] | None = None
    own: Mapping[str, Any] | None = None
    inference: Mapping[str, Any] | None = None
    weights: list[str] = field(default_factory=list)
    weights_license: str | None = None


def recipe_facts(file: Path | None = None) -> dict[str, Facts]:
    """The facts of all recipes by name; those of a recipe that the file does not name are empty.

    Args:
        file: ``zoo.json``; None: that of the recipes.

    Raises:
        InputError: the file cannot be read, or holds something else.
    """
    file = file or recipe_folder() / "zoo.json"
    content = read_json(file) if file.is_file() else {}
    if not isinstance(content, dict):
        raise InputError(f"{file}: it must hold an object with the facts of each recipe by name.")
    return {name: _facts(content.get(name, {}), name, file) for name in recipe_names()}


def _facts(given: Any, name: str, file: Path) -> Facts:
    if not isinstance(given, dict):
        raise InputError(f"{file}: the facts of {name} must be an object, not {given!r}.")
    unknown = sorted(given.keys() - Facts.__dataclass_fields__.keys())
    if unknown:
        raise InputError(f"{file}: {name} has facts of no known kind: {', '.join(unknown)}.")
    return Facts(**given)
