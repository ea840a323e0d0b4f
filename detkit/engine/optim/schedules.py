"""Learning-rate schedules."""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from detkit.errors import InputError


class Schedule:
    """The learning rate as a factor of the optimizer's, a function of the step alone: resuming needs no history.

    Args:
        warmup_steps: optimizer steps of warm-up; a value below 1 is a fraction of the run.
        warmup_factor: where the warm-up starts, as a factor of the learning rate.
        warmup_power: exponent of the warm-up's progress; darknet's ``burn_in`` has 4.
    """

    def __init__(self, warmup_steps: float = 500, warmup_factor: float = 0.001, warmup_power: float = 1.0) -> None:
        if warmup_steps < 0 or not 0 <= warmup_factor <= 1:
            raise InputError(
                f"schedule: warmup_steps must not be negative and warmup_factor must lie in [0, 1], "
                f"got {warmup_steps} and {warmup_factor}."
            )
        self.warmup_steps = warmup_steps
        self.warmup_factor = warmup_factor
        self.warmup_power = warmup_power

    def attach(self, optimizer: Optimizer, total_steps: int, steps_per_epoch: int) -> LambdaLR:
        """Make torch's scheduler for `optimizer`, to be stepped after each optimizer step."""
        warmup = self.warmup_steps if self.warmup_steps >= 1 else self.warmup_steps * total_steps

        def factor(step: int) -> float:
            share = (step / warmup) ** self.warmup_power if step < warmup else 1.0
            ramp = self.warmup_factor + (1 - self.warmup_factor) * share
            return ramp * self.factor(step, warmup, total_steps, steps_per_epoch)

        return LambdaLR(optimizer, factor)

    def factor(self, step: int, warmup: float, total_steps: int, steps_per_epoch: int) -> float:
        """The factor at `step` without the warm-up; constant here."""
        return 1.0


class WarmupMultiStep(Schedule):
    """A warm-up, then a drop by `gamma` at each milestone: the "1x" schedule of the R-CNN family.

    Args:
        milestones: epochs at whose end the learning rate drops; fractions of an epoch are fine.
        gamma: the factor of each drop.
        warmup_steps: optimizer steps of warm-up; a value below 1 is a fraction of the run.
        warmup_factor: where the warm-up starts, as a factor of the learning rate.
        warmup_power: exponent of the warm-up's progress; darknet's ``burn_in`` has 4.
    """

    def __init__(
        self,
        milestones: list[float],
        gamma: float = 0.1,
        warmup_steps: float = 500,
        warmup_factor: float = 0.001,
        warmup_power: float = 1.0,
    ) -> None:
        super().__init__(warmup_steps, warmup_factor, warmup_power)
        self.milestones = sorted(milestones)
        self.gamma = gamma

    def factor(self, step: int, warmup: float, total_steps: int, steps_per_epoch: int) -> float:
        return self.gamma ** sum(step >= round(epoch * steps_per_epoch) for epoch in self.milestones)


class WarmupCosine(Schedule):
    """Linear warm-up, then half a cosine down to `final_factor` (SGDR, Loshchilov and Hutter, eq. 5, without restarts).

    Args:
        final_factor: the learning rate of the last step, as a factor of the first.
        warmup_steps: optimizer steps of linear warm-up; a value below 1 is a fraction of the run.
        warmup_factor: where the warm-up starts, as a factor of the learning rate.
    """

    def __init__(self, final_factor: float = 0.01, warmup_steps: float = 500, warmup_factor: float = 0.001) -> None:
        super().__init__(warmup_steps, warmup_factor)
        self.final_factor = final_factor

    def factor(self, step: int, warmup: float, total_steps: int, steps_per_epoch: int) -> float:
        progress = _progress(step, warmup, total_steps)
        return self.final_factor + (1 - self.final_factor) * (1 + math.cos(math.pi * progress)) / 2


class WarmupPolynomial(Schedule):
    """Linear warm-up, then ``(1 - progress)^power`` down to zero, as used with LARS (You 2017, section 5).

    Args:
        power: exponent of the decay.
        warmup_steps: optimizer steps of linear warm-up; a value below 1 is a fraction of the run.
        warmup_factor: where the warm-up starts, as a factor of the learning rate.
    """

    def __init__(self, power: float = 2.0, warmup_steps: float = 500, warmup_factor: float = 0.001) -> None:
        super().__init__(warmup_steps, warmup_factor)
        self.power = power

    def factor(self, step: int, warmup: float, total_steps: int, steps_per_epoch: int) -> float:
        return (1 - _progress(step, warmup, total_steps)) ** self.power


def _progress(step: int, warmup: float, total_steps: int) -> float:
    """The completed share of the run after the warm-up."""
    return min(1.0, max(0.0, (step - warmup) / max(1.0, total_steps - warmup)))
