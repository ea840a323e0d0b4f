"""The base of all learners, and the phases of a step that has several optimizers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.optim import Optimizer

from detkit.learners.batch import TrainingBatch

OptimizerFactory = Callable[[Iterable], Optimizer]
Losses = Callable[[Any, TrainingBatch], dict[str, Tensor]]
Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class Phase:
    """One of the turns of a training step: its losses are computed, and its parameters stepped.

    Args:
        name: of the phase; its losses are logged as ``name.loss``. Empty where there is one phase.
        losses: ``(model, batch)`` to named scalar losses.
        modules: whose parameters are stepped, those with ``requires_grad``.
        optimizer: makes the optimizer of these; None: the one of the config.
    """

    name: str
    losses: Losses
    modules: Sequence[nn.Module]
    optimizer: OptimizerFactory | None = None


class Learner(nn.Module):
    """What a training step makes of the model and a batch.

    A subclass gives `losses`. What it holds as attributes (a teacher, a discriminator, a projection) is moved to the
    device, saved in checkpoints and resumed with the run, as ``learner.…``; its parameters with ``requires_grad`` are
    trained along with the model's. It is no part of the model that `detkit.load` gives.

    Attributes:
        sources: the names of the further data sources (``data.sources``) that it reads.
        reads_targets: whether it needs the labels of the main data; if not, the data may lack what the model would
            learn from.
    """

    sources: tuple[str, ...] = ()
    reads_targets: bool = True

    def setup(self, model: nn.Module) -> None:
        """Look at the model once before training: make what depends on it, or refuse it with an InputError."""

    def losses(self, model: Any, batch: TrainingBatch) -> dict[str, Tensor]:
        """Named scalar losses, weighted, to be summed; the same names at every step.

        Args:
            model: in training mode.
            batch: the images of this step.
        """
        raise NotImplementedError

    def phases(self, model: nn.Module) -> list[Phase]:
        """The turns of a step, in their order: one, of `losses` and of all parameters, unless a subclass says other.

        With several, each phase's losses are computed after the phase before has stepped, and only its own parameters
        get gradients.
        """
        return [Phase("", self.losses, (model, self))]

    def train(self, mode: bool = True) -> Learner:
        """As of any module, but a part that is wholly frozen stays in evaluation mode."""
        super().train(mode)
        for part in self.children():
            parameters = list(part.parameters())
            if parameters and not any(parameter.requires_grad for parameter in parameters):
                part.eval()
        return self


def frozen(module: Module) -> Module:
    """`module` itself, in evaluation mode and not to be trained, as a teacher is."""
    module.requires_grad_(False)
    module.eval()
    return module
