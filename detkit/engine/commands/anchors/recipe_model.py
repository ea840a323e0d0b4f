"""The model of a recipe, as a config of its own."""

from __future__ import annotations

from typing import Any

from detkit.errors import InputError
from detkit.files import read_yaml
from detkit.recipes import recipe_path


def recipe_model(recipe: str, classes: int | None) -> dict[str, Any]:
    """The model's part of a recipe, without files of weights, which would be read or downloaded for nothing.

    Args:
        recipe: its name, or a file.
        classes: the number of classes; None for a model without classes.

    Raises:
        InputError: there is no such recipe, or it describes no model.
    """
    path = recipe_path(recipe)
    content = read_yaml(path)
    config = content.get("model") if isinstance(content, dict) else None
    if not isinstance(config, dict) or "class_path" not in config:
        raise InputError(f"{path} has no model with a class_path: give a recipe of `detkit train`.")
    model: dict[str, Any] = without_weights(config)
    if classes is not None:
        model["init_args"] = {**model.get("init_args", {}), "num_classes": classes}
    return model


def without_weights(part: Any) -> Any:
    """A part of a recipe with null for each value called `weights`."""
    if isinstance(part, dict):
        return {key: None if key == "weights" else without_weights(value) for key, value in part.items()}
    return [without_weights(value) for value in part] if isinstance(part, list) else part
