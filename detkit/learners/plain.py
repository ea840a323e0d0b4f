"""The default learner: the model's own losses."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from detkit.learners.learner import Learner
from detkit.learners.training_batch import TrainingBatch


class PlainLearner(Learner):
    """Learns from the losses ``model(images, targets)``."""

    def losses(self, model: Any, batch: TrainingBatch) -> dict[str, Tensor]:
        """Compute the losses of the model."""
        losses: dict[str, Tensor] = model(batch.images, batch.targets)
        return losses
