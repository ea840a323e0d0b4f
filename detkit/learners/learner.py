"""The base class of learners, and the phases of a step that has several optimizers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.optim import Optimizer

from detkit.learners.training_batch import TrainingBatch

OptimizerFactory = Callable[[Iterable[Any]], Optimizer]
Losses = Callable[[Any, TrainingBatch], dict[str, Tensor]]
Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class Phase:
    """A part of a training step with its own optimizer: its losses are computed, then its parameters are stepped.

    Args:
        name: name of the phase; its losses are logged as ``name.loss``. Empty if there is only one phase.
        losses: function of ``(model, batch)`` that returns named scalar losses.
        modules: their parameters with ``requires_grad`` are stepped.
        optimizer: makes their optimizer; None: that of the config.
    """

    name: str
    losses: Losses
    modules: Sequence[nn.Module]
    optimizer: OptimizerFactory | None = None


class Learner(nn.Module):
    """Computes the losses of a training step from the model and a batch.

    A subclass defines `losses`. Modules that it holds (a teacher, a discriminator, a projection) are moved to the
    device, saved in checkpoints as ``learner.…`` and resumed with the run; their parameters with ``requires_grad`` are
    trained along with the model's. They are not part of the model that `detkit.load` returns.

    Attributes:
        sources: names of the further data sources (``data.sources``) that it reads.
        reads_targets: whether it needs the labels of the main data; if not, the data may lack what the model learns
            from.
    """

    sources: tuple[str, ...] = ()
    reads_targets: bool = True

    def setup(self, model: nn.Module) -> None:
        """Prepare for the model, once before training: build what depends on it, or refuse it with an InputError."""

    def losses(self, model: Any, batch: TrainingBatch) -> dict[str, Tensor]:
        """Compute named scalar losses, weighted, to be summed; the same names at every step.

        Args:
            model: the model in training mode.
            batch: the batch of this step.
        """
        raise NotImplementedError

    def phases(self, model: nn.Module) -> list[Phase]:
        """The phases of a step, in order; by default one, with `losses` and all parameters.

        With several, the losses of a phase are computed after the previous phase has stepped, and only its own
        parameters get gradients.
        """
        return [Phase("", self.losses, (model, self))]

    def train(self, mode: bool = True) -> Learner:
        """As for any module, but a fully frozen part stays in evaluation mode."""
        super().train(mode)
        for part in self.children():
            parameters = list(part.parameters())
            if parameters and not any(parameter.requires_grad for parameter in parameters):
                part.eval()
        return self


def freeze_module(module: Module) -> Module:
    """Freeze `module`, such as a teacher, set it to evaluation mode, and return it."""
    module.requires_grad_(False)
    module.eval()
    return module
