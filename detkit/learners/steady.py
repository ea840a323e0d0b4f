"""A learner for losses that start late, and that skips the few batches whose loss is far above the others'."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from detkit.distributed import mean as mean_over_processes
from detkit.errors import InputError
from detkit.learners.learner import Learner
from detkit.learners.training_batch import TrainingBatch
from detkit.prefixes import longest_prefix

logger = logging.getLogger(__name__)

_REPORT_EVERY = 100
"""Batches between looks at how many were skipped, each of which waits for the device."""


class SteadyLearner(Learner):
    """Learns from the losses ``model(images, targets)``, as the training of ShapeNet by Mesh R-CNN's authors does.

    Groups of losses may start late: before, their weights in the model are 0. A batch is skipped, its losses and
    gradients are 0, where its loss is far above the running mean: one bad mesh could undo a training. Processes skip
    together, by the mean of their losses. An infinite loss is skipped as well, but not in the first batch of a
    training, and NaN never: those stop the training as with any learner. How many were skipped is logged. Both go on
    where a run resumes.

    Args:
        starts: the number of batches after which a group of losses starts, by the name of a loss or of a group as in
            ``loss_weights``, such as ``{"mesh": 100}``.
        skip_above: a batch is skipped where its loss is more than so many times the running mean; None: none is.
        momentum: of the running mean, the share of it that each batch keeps.

    Raises:
        InputError: `skip_above` is not above 1, `momentum` not in [0, 1), or a start is negative.
    """

    batches: Tensor
    skipped: Tensor
    running_mean: Tensor

    def __init__(
        self, starts: Mapping[str, int] | None = None, skip_above: float | None = 50.0, momentum: float = 0.9
    ) -> None:
        super().__init__()
        if skip_above is not None and not skip_above > 1:
            raise InputError(f"skip_above is {skip_above}, but must be above 1: other batches would be skipped too")
        if not 0 <= momentum < 1:
            raise InputError(f"momentum is {momentum}, but must be at least 0 and below 1")
        negative = {name: start for name, start in (starts or {}).items() if start < 0}
        if negative:
            raise InputError(f"starts are numbers of batches, got {negative}")
        self.starts = dict(starts or {})
        self.skip_above = skip_above
        self.momentum = momentum
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))
        self.register_buffer("skipped", torch.zeros((), dtype=torch.int64))
        self.register_buffer("running_mean", torch.full((), torch.nan))
        self._done: int | None = None  # of `batches`, which the host knows from the first batch of a run on
        self._reported = 0
        self._gates: list[RemovableHandle] = []

    def losses(self, model: Any, batch: TrainingBatch) -> dict[str, Tensor]:
        """Compute the losses of the model, those of groups that have not started and of skipped batches 0."""
        if self._done is None:
            self._done, self._reported = int(self.batches), int(self.skipped)
        waiting = [name for name, start in self.starts.items() if self._done < start]
        with without(model, waiting):
            losses: dict[str, Tensor] = model(batch.images, batch.targets)
        self._done += 1
        self.batches += 1
        if self.skip_above is None:
            return losses
        is_outlier = self._is_outlier(losses, self.skip_above)
        self._gate(model, is_outlier)
        return {name: loss.masked_fill(is_outlier, 0.0) for name, loss in losses.items()}

    def _is_outlier(self, losses: Mapping[str, Tensor], most: float) -> Tensor:
        """Whether the batch is skipped, bool ``()``; counts it, or adds it to the running mean."""
        total = mean_over_processes(torch.stack([loss.detach().float() for loss in losses.values()]).sum())
        mean = torch.where(self.running_mean.isnan(), total, self.running_mean)
        is_outlier = total > most * mean
        self.running_mean = torch.where(is_outlier, mean, self.momentum * mean + (1 - self.momentum) * total)
        self.skipped += is_outlier
        self._report()
        return is_outlier

    def _gate(self, model: nn.Module, is_skipped: Tensor) -> None:
        """Make the gradients of this batch 0 where it is skipped, without a wait for the device.

        Losses of 0 do not suffice: where the derivative of a layer is infinite, its product with 0 is NaN.
        """
        for gate in self._gates:  # of parameters that the batch before gave no gradient
            gate.remove()
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._gates = [_gated_once(parameter, is_skipped) for parameter in trained]

    def _report(self) -> None:
        if not self._done or self._done % _REPORT_EVERY:
            return
        skipped = int(self.skipped)
        if skipped > self._reported:
            logger.warning(
                "%d of %d batches were skipped so far: their loss was more than %g times the running mean",
                skipped,
                self._done,
                self.skip_above,
            )
        self._reported = skipped


def _gated_once(parameter: Tensor, is_closed: Tensor) -> RemovableHandle:
    """Replace the next gradient of `parameter` by 0 where `is_closed`."""

    def gate(gradient: Tensor) -> Tensor:
        handle.remove()
        return gradient.masked_fill(is_closed, 0.0)

    handle: RemovableHandle = parameter.register_hook(gate)
    return handle


@contextmanager
def without(model: Any, groups: list[str]) -> Iterator[None]:
    """Set the weights of groups of losses of `model` to 0 within."""
    weights = model.loss_weights
    if groups:
        rest = {name: factor for name, factor in weights.items() if longest_prefix(name, groups) is None}
        model.loss_weights = {**rest, **dict.fromkeys(groups, 0.0)}
    try:
        yield
    finally:
        if groups:
            model.loss_weights = weights
