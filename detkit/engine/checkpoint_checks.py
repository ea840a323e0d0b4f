"""Whether the classes of data and the weights of a file fit a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from detkit.errors import InputError
from detkit.models import VisionModel
from detkit.structures import UNUSED_LABEL, Category


def check_categories(model: Sequence[Category], data: Sequence[Category], checkpoint: str | Path, source: str) -> None:
    """Refuse data with other class names than the model's; their order may differ.

    Raises:
        InputError: the names differ; both lists are in the message.
    """
    theirs = [category.name for category in data]
    ours = [category.name for category in model if category.name != UNUSED_LABEL]
    if sorted(theirs) != sorted(ours):
        raise InputError(
            f"{checkpoint} was trained on {len(ours)} classes {_listed(ours)}, but {source} has {len(theirs)} "
            f"{_listed(theirs)}: give it data with the same classes, or train a model for these."
        )


def check_weights(model: VisionModel, weights: Mapping[str, Tensor], path: str | Path) -> None:
    """Refuse weights that do not fit the model.

    Raises:
        InputError: it lists what is missing, in excess or of another shape.
    """
    own = model.state_dict()
    missing = [name for name in own if name not in weights]
    unexpected = [name for name in weights if name not in own]
    reshaped = [
        f"{name} {_shape(weights[name])} instead of {_shape(value)}"
        for name, value in own.items()
        if name in weights and _shape(weights[name]) != _shape(value)
    ]
    retyped = [
        f"{name} {weights[name].dtype} instead of {value.dtype}"
        for name, value in own.items()
        if name in weights and weights[name].is_floating_point() != value.is_floating_point()
    ]
    problems = {
        "lacks": missing,
        "has in excess": unexpected,
        "has in another shape": reshaped,
        "has in another type": retyped,
    }
    reasons = [f"{verb} {_listed(names)}" for verb, names in problems.items() if names]
    if reasons:
        raise InputError(f"The weights in {path} do not fit the {type(model).__name__}: it {'; it '.join(reasons)}.")


def _shape(value: Tensor) -> tuple[int, ...]:
    return tuple(value.shape)


def _listed(names: Sequence[str], most: int = 20) -> str:
    return "[" + ", ".join(names[:most]) + (f", and {len(names) - most} more" if len(names) > most else "") + "]"
