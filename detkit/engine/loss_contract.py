"""Checking the losses of a training step: named scalars, the same names at every step."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from detkit.errors import InputError


class LossContract:
    """Checks the losses of each phase of a run, from step to step."""

    def __init__(self) -> None:
        self._names: dict[str, frozenset[str]] = {}

    def check(self, phase: str, losses: Mapping[str, Tensor]) -> None:
        """Check the losses of one step.

        Args:
            phase: name of what computes them.
            losses: losses by name.

        Raises:
            InputError: there are none, one is not a scalar, or the names differ from those of an earlier step.
        """
        if not losses:
            raise InputError(f"The {phase} returns no losses: it must return at least one named scalar.")
        for name, value in losses.items():
            if not isinstance(value, Tensor) or value.ndim:
                got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
                raise InputError(f"The loss {name} of the {phase} must be a tensor without dimensions, got {got}.")
        names = frozenset(losses)
        before = self._names.setdefault(phase, names)
        if names != before:
            raise InputError(
                f"The losses of the {phase} are {sorted(names)}, but were {sorted(before)} at an earlier step: return "
                "the same names at every step, 0 where there is nothing to learn."
            )
