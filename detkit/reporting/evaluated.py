"""What the sections of a report are made of: a finished evaluation and its images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from detkit.data.image_dataset import ImageDataset
from detkit.evaluation import Evaluator
from detkit.evaluation.ground_truth import plain_id
from detkit.structures import Target


@dataclass(frozen=True)
class PageOptions:
    """What the page shows, and how much.

    Args:
        images: the most images on the page.
        longest_side: of an image on the page, in pixels.
        score_threshold: the least score of a detection that counts in confusions and at first in the error browser.
        bootstrap: the number of samples for confidence intervals; 0: none.
    """

    images: int = 48
    longest_side: int = 640
    score_threshold: float = 0.3
    bootstrap: int = 500


@dataclass(frozen=True, eq=False)
class Evaluated:
    """A model that has been evaluated.

    Args:
        evaluators: by name; each has computed, and `detkit.evaluation.Evaluator.evaluation` is its result.
        dataset: the images that were evaluated, and their targets.
        options: what the page shows.
        predict: gives the answers of the model to images ``(H, W, 3)`` and their targets; None: it is not at hand.
    """

    evaluators: Mapping[str, Evaluator]
    dataset: ImageDataset
    options: PageOptions = field(default_factory=PageOptions)
    predict: Callable[[Sequence[np.ndarray], Sequence[Target]], Sequence[Any]] | None = None

    def title(self, what: str, name: str) -> str:
        """The heading of a section of an evaluator; several evaluators are told apart by their names."""
        return what if len(self.evaluators) == 1 else f"{what}: {name}"

    def only(self, kind: type) -> Evaluated:
        """The same with the evaluators of a class alone."""
        return replace(self, evaluators={key: one for key, one in self.evaluators.items() if isinstance(one, kind)})

    @cached_property
    def _rows(self) -> dict[Any, int]:
        return {plain_id(image_id): row for row, image_id in enumerate(self.dataset.image_ids)}

    def image(self, image_id: Any) -> np.ndarray:
        """The image ``(H, W, 3)`` uint8 RGB of an id."""
        return self.sample(image_id)[0]

    def sample(self, image_id: Any) -> tuple[np.ndarray, Target]:
        """The image of an id, and its target."""
        return self.dataset.read(self._rows[image_id])
