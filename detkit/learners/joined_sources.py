"""A learner whose step takes the images of several data sets as one batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from detkit.errors import InputError
from detkit.learners.learner import Learner
from detkit.learners.training_batch import TrainingBatch


class JoinedSources(Learner):
    """Learns from the main data and from further sources at once: each image teaches what is annotated in it.

    So a model with several heads is trained from data sets of which none has the labels of all, such as a panoptic one
    from objects and from label maps.

    Args:
        sources: names of the sources, which are annotated; see ``data.sources``.

    Raises:
        InputError: there are no sources; later, one has no labels.
    """

    def __init__(self, sources: Sequence[str]) -> None:
        super().__init__()
        if not sources:
            raise InputError("JoinedSources needs the name of a data source: give one in data.sources")
        self.sources = tuple(sources)

    def losses(self, model: Any, batch: TrainingBatch) -> dict[str, Tensor]:
        """Compute the losses of the model for all images of the step."""
        images, targets = list(batch.images), list(batch.targets or ())
        for name in self.sources:
            source = batch.sources[name]
            if source.targets is None:
                raise InputError(f"the data source {name} is read without labels: leave its labels: false out")
            images, targets = [*images, *source.images], [*targets, *source.targets]
        losses: dict[str, Tensor] = model(images, targets)
        return losses
