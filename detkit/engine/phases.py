"""The phases of a training step: their parameters, and stepping their optimizers one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from detkit.errors import InputError
from detkit.learners import Learner, Phase, TrainingBatch

LEARNER = "learner."  # prefix of the learner's weights in the training module


def named_parameters(model: nn.Module, learner: Learner) -> dict[str, nn.Parameter]:
    """The parameters of the model by its own names, and those of the learner as ``learner.…``, each one once."""
    named = dict(model.named_parameters())
    known = {id(parameter) for parameter in named.values()}
    others = {LEARNER + name: value for name, value in learner.named_parameters() if id(value) not in known}
    return named | others


def parameters_of_phases(phases: Sequence[Phase], model: nn.Module, learner: Learner) -> list[dict[str, nn.Parameter]]:
    """The trainable parameters of each phase, by name.

    Raises:
        InputError: a phase has none, or some that no checkpoint would hold, or a trainable parameter is in no phase.
    """
    named = named_parameters(model, learner)
    known = {id(parameter) for parameter in named.values()}
    parts = []
    for phase in phases:
        own = {id(parameter) for module in phase.modules for parameter in module.parameters()}
        if own - known:
            raise InputError(
                f"{_described(phase, learner)} trains parameters that neither the model nor the learner holds: make "
                "their module an attribute of the learner, so that checkpoints hold it."
            )
        part = {name: value for name, value in named.items() if id(value) in own and value.requires_grad}
        if not part:
            owner = _described(phase, learner) if phase.name else type(model).__name__
            raise InputError(f"{owner} has no parameter to train: every one of them is frozen.")
        parts.append(part)
    left = [name for name, value in named.items() if value.requires_grad and not any(name in part for part in parts)]
    if left:
        raise InputError(
            f"{type(learner).__name__} has no phase that trains {left[0]} ({len(left)} such parameters): freeze them, "
            "or give their module to a phase."
        )
    return parts


def with_phase(phase: Phase, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`losses` under the names that are logged; those of a named phase are prefixed with its name."""
    return {f"{phase.name}.{name}" if phase.name else name: value for name, value in losses.items()}


def take_turns(module: Any, phases: Sequence[Phase], batch: TrainingBatch) -> dict[str, Tensor]:
    """Step each phase's optimizer and schedule in order; only a phase's own parameters get gradients in it.

    Together they count as one step of the run, as with one optimizer.

    Args:
        module: the training module, with one optimizer for each of `phases`.
        phases: in order.
        batch: the batch of this step.

    Returns:
        The losses of all phases.
    """
    losses_of_all: dict[str, Tensor] = {}
    for phase, optimizer in zip(phases, module.optimizers(), strict=True):
        module.toggle_optimizer(optimizer)
        losses = module.losses(phase, batch)
        optimizer.zero_grad()
        module.manual_backward(torch.stack(list(losses.values())).sum())
        if phase is phases[-1]:
            optimizer.step()
        else:  # around Lightning's counter of steps
            module.trainer.strategy.optimizer_step(optimizer.optimizer, lambda: None)
        module.untoggle_optimizer(optimizer)
        losses_of_all |= {name: value.detach() for name, value in losses.items()}
    for scheduler in module.lr_schedulers() or ():
        scheduler.step()
    return losses_of_all


def check_learner_weights(learner: Learner, weights: Mapping[str, Tensor]) -> None:
    """Refuse the weights of another learner.

    Args:
        learner: the learner of this run.
        weights: all weights of a checkpoint, by name.

    Raises:
        InputError: names or shapes of the learner's weights differ.
    """
    saved = {name.removeprefix(LEARNER): value for name, value in weights.items() if name.startswith(LEARNER)}
    own = learner.state_dict()
    different = sorted(saved.keys() ^ own.keys())
    different += [name for name, value in own.items() if name in saved and saved[name].shape != value.shape]
    if different:
        raise InputError(
            f"The checkpoint comes from a run with another learner than {type(learner).__name__}: weights differ in "
            f"{different[0]} ({len(different)} in all): resume with the learner of that run."
        )


def _described(phase: Phase, learner: Learner) -> str:
    name = type(learner).__name__
    return f"The phase {phase.name} of {name}" if phase.name else name
