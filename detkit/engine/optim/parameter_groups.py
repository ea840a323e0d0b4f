"""Parameter groups and learning-rate factors."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from torch import nn
from torch.optim import Optimizer

from detkit.errors import InputError
from detkit.prefixes import longest_prefix, prefixes, unmatched


def parameter_groups(
    model: nn.Module, decay_norm_and_bias: bool, lr_factors: Mapping[str, float] | None = None
) -> list[dict]:
    """The trainable parameters as an optimizer takes them, each parameter in exactly one group.

    Args:
        model: parameters with ``requires_grad=False`` (frozen stages) are left out.
        decay_norm_and_bias: whether weight decay applies to normalization layers and biases too; if not, these
            one-dimensional parameters form groups of their own with ``weight_decay=0``.
        lr_factors: factors of the learning rate by prefix of parameter names, see `group_parameters`.

    Raises:
        InputError: nothing in the model can be trained, or a factor matches no parameter.
    """
    named = dict(model.named_parameters())
    check_lr_factors(lr_factors or {}, named)
    trainable = {name: parameter for name, parameter in named.items() if parameter.requires_grad}
    if not trainable:
        raise InputError(f"{type(model).__name__} has no parameter to train: every one of them is frozen.")
    return group_parameters(trainable, decay_norm_and_bias, lr_factors or {})


def group_parameters(
    named: Mapping[str, nn.Parameter], decay_norm_and_bias: bool, lr_factors: Mapping[str, float]
) -> list[dict]:
    """Group parameters by the factor of their learning rate and by whether they decay.

    Groups with a factor other than 1 have it as ``lr_factor``, for `apply_lr_factors`; they come last.

    Args:
        named: parameters by name.
        decay_norm_and_bias: see `parameter_groups`.
        lr_factors: factors by prefix of names, in whole components; the longest match wins, the default is 1.
    """
    kinds: dict[tuple[float, bool], list[nn.Parameter]] = {(1.0, True): [], (1.0, False): []}
    for name, parameter in named.items():
        rule = longest_prefix(name, lr_factors)
        factor = 1.0 if rule is None else float(lr_factors[rule])
        kinds.setdefault((factor, decay_norm_and_bias or parameter.ndim > 1), []).append(parameter)
    groups = []
    for (factor, decays), parameters in kinds.items():
        group: dict[str, Any] = {"params": parameters}
        if not decays:
            group["weight_decay"] = 0.0
        if factor != 1.0:
            group["lr_factor"] = factor
        if parameters:
            groups.append(group)
    return groups


def check_lr_factors(lr_factors: Mapping[str, float], names: Collection[str]) -> None:
    """Refuse factors that are not positive and finite, and prefixes that match nothing in the model.

    Raises:
        InputError: it names the prefix, and similar ones.
    """
    for prefix, factor in lr_factors.items():
        if factor == 0:
            raise InputError(
                f"lr_factors.{prefix} is 0, so that nothing in {prefix} would be trained: give a positive factor such "
                "as 0.01, or leave it out; parts are frozen by requires_grad_(False), backbones by frozen_stages."
            )
        if not 0 < factor < math.inf:
            raise InputError(f"lr_factors.{prefix} must be positive and finite, got {factor}.")
    for prefix in unmatched(lr_factors, names):
        known = list(dict.fromkeys(part for name in names for part in reversed(prefixes(name))))
        near = get_close_matches(prefix, known, n=3, cutoff=0.6)
        outermost = list(dict.fromkeys(name.partition(".")[0] for name in names))
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(outermost)}."
        raise InputError(f"lr_factors names {prefix}, but no parameter's name begins so; {hint}")


def check_same_groups(groups: Sequence[Mapping[str, Any]], saved: Sequence[Mapping[str, Any]]) -> None:
    """Refuse to resume with other groups of parameters than a checkpoint's, whose rates would be used.

    Args:
        groups: the groups of this run, from `group_parameters`.
        saved: the groups of the saved optimizer state.

    Raises:
        InputError: they differ in number, size or factors.
    """
    now, before = ([(len(group["params"]), group.get("lr_factor", 1.0)) for group in some] for some in (groups, saved))
    if now != before:
        raise InputError(
            "The run began with other groups of parameters: resume with the lr_factors, lr_layer_decay, "
            "decay_norm_and_bias and frozen parts that it had, or begin a new one with --start_from."
        )


@dataclass(frozen=True)
class LayerDecay:
    """Learning rates that fall from the output to the input (Clark et al., "ELECTRA", 2020; BEiT, MAE).

    Args:
        decay: the factor from one part to the next one toward the input.
        parts: prefixes of parameter names, from the input to the output; others have factor 1.
    """

    decay: float
    parts: list[str]

    def factors(self) -> dict[str, float]:
        """The factor of each part: `decay` for the last one, its square for the one before."""
        return {part: self.decay ** (len(self.parts) - index) for index, part in enumerate(self.parts)}


def scale_learning_rates(optimizer: Optimizer, factor: float) -> None:
    """Multiply the learning rate of every group, before a schedule starts from it."""
    for group in optimizer.param_groups:
        group["lr"] *= factor


def apply_lr_factors(optimizer: Optimizer) -> None:
    """Multiply the learning rate of every group by its ``lr_factor``, once, before a schedule starts from it."""
    for group in optimizer.param_groups:
        group["lr"] *= group.get("lr_factor", 1.0)


def learning_rate(optimizer: Optimizer) -> float:
    """The current learning rate, without factors of groups."""
    group = optimizer.param_groups[0]
    return float(group["lr"]) / float(group.get("lr_factor", 1.0))
