"""Weights of named losses, and the sums of groups of losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from torch import Tensor

from detkit.deprecation import moved_names
from detkit.errors import InputError
from detkit.prefixes import longest_prefix, unmatched

Value = TypeVar("Value", Tensor, float)


def weight_losses(losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> dict[str, Tensor]:
    """`losses`, each times its factor in `weights`, or 1 if it has none.

    Args:
        losses: scalars by name; names may be grouped by dots, such as ``decoder.3.box``.
        weights: factors by the name of a loss or of a group: both ``decoder`` and ``decoder.3`` match
            ``decoder.3.box``, and the longest match is used.

    Raises:
        InputError: `weights` names a loss or a group that does not exist.
    """
    unknown = unmatched(weights, losses) if weights else []
    if unknown:
        raise InputError(f"loss_weights names {unknown}, but the losses are {sorted(losses)}")
    factors = {name: weights[rule] for name in losses if (rule := longest_prefix(name, weights)) is not None}
    return {name: factors[name] * loss if name in factors else loss for name, loss in losses.items()}


def group_sums(losses: Mapping[str, Value]) -> dict[str, Value]:
    """The sum of each group of losses, which is the first component of dotted names.

    A group is left out if a loss has its name.
    """
    sums: dict[str, Value] = {}
    for name, value in losses.items():
        group, dot, _ = name.partition(".")
        if dot and group not in losses:
            sums[group] = sums[group] + value if group in sums else value
    return sums


__getattr__ = moved_names(__name__, {"weighted": "detkit.models.loss_weights.weight_losses"})
