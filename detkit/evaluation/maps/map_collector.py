"""The base class of evaluators of maps: it compares each answer at once with the map of its target."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from detkit.errors import InputError
from detkit.evaluation.ground_truth import plain_id
from detkit.evaluation.targets.target_collector import TargetCollector
from detkit.structures import Target


class MapCollector(TargetCollector):
    """Compares maps image by image; the base of `SemanticEvaluator` and `PanopticEvaluator`.

    The truth is the map of a target, whose labels are positions among the categories of the annotations, sorted by id.
    """

    answers_called = "maps"

    def keep(self, target: Target, answer: Any) -> object:
        """What `compare` gives for an image; None where its target has no map.

        Raises:
            InputError: the answer has no map of that size, or a value of either map stands for no class.
        """
        image_id = plain_id(target.image_id)
        truth: Tensor | None = getattr(target, self.reads, None)
        if truth is None:
            return None
        given = getattr(answer, self.reads, None)
        if given is None:
            raise InputError(
                f"the answer for image {image_id!r} is a {type(answer).__name__} without a {self.reads}: evaluate a "
                "model that gives one"
            )
        if truth.shape != given.shape:
            raise InputError(
                f"image {image_id!r}: the {self.reads} of the answer has shape {tuple(given.shape)}, that of the "
                f"target {tuple(truth.shape)}; give both at the size of the image"
            )
        return self.compare(image_id, truth.detach().cpu(), given.detach().cpu())

    def compare(self, image_id: Any, truth: Tensor, answer: Tensor) -> object:
        """Compare the maps of an image, both on the CPU; gives what is kept of it. A subclass implements it."""
        raise NotImplementedError
