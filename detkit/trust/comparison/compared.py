"""`compare`: two evaluators of the same data, image by image.

The same resampled images are drawn for both (the paired bootstrap; Efron and Tibshirani, "An Introduction to the
Bootstrap", 1993, section 8.3): images that are hard for both models then cancel out of the difference.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from detkit.errors import InputError
from detkit.evaluation import Evaluator, ImageWeighting, WeightedNumbers
from detkit.evaluation.tables.shown_numbers import PERCENT
from detkit.evaluation.weighting.image_weighting import drawn_weights
from detkit.trust.comparison.difference import Difference, difference_of
from detkit.trust.comparison.images_needed import images_needed
from detkit.trust.comparison.same_data import Joined, join_data


@dataclass(frozen=True)
class Comparison:
    """Two evaluations of the same images.

    Args:
        evaluator: the name of the evaluators.
        names: how the two are called.
        images: the number of images.
        headline: the most important number.
        higher_is_better: whether a greater headline is better.
        scale: what the headline is multiplied by to be shown, `Evaluator.scale`.
        confidence: of the intervals.
        numbers: the difference of each number.
        by_class: of each class by its name, that of each number.
        notes: sentences on what was joined by name.
        scales: what each of the numbers that are shown otherwise is multiplied by.
    """

    evaluator: str
    names: tuple[str, str]
    images: int
    headline: str
    higher_is_better: bool
    scale: float
    confidence: float
    numbers: dict[str, Difference]
    by_class: dict[str, dict[str, Difference]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    scales: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        """The verdict in a sentence."""
        from detkit.trust.comparison.verdict import verdict  # which is made of comparisons

        return verdict(self)

    @property
    def head(self) -> Difference:
        """The difference of the headline."""
        return self.numbers[self.headline]

    @property
    def better(self) -> str | None:
        """The name of the better one; None where the two do not differ."""
        if not self.head.differs:
            return None
        return self.names[0] if (self.head.difference > 0) == self.higher_is_better else self.names[1]

    @property
    def is_equal(self) -> bool:
        """Whether all numbers are identical, those of the resamples too."""
        every = [*self.numbers.values(), *(one for row in self.by_class.values() for one in row.values())]
        return all(one.is_equal for one in every)

    @property
    def difference_to_see(self) -> float | None:
        """The difference that `images_needed` is for: 1 percent, such as 1 AP; of other numbers, whose size is unknown,
        the difference of the two. None where that is 0 or unknown."""
        difference = 1 / self.scale if self.scale == PERCENT else abs(self.head.difference)
        return difference if difference > 0 else None

    @property
    def images_needed(self) -> int | None:
        """The number of images to see `difference_to_see`; None where there is none, or where answers never differ."""
        difference = self.difference_to_see
        if difference is None:
            return None
        return images_needed(self.head.standard_error, self.images, difference, self.confidence)


def compare(
    first: Evaluator,
    second: Evaluator,
    names: tuple[str, str] = ("A", "B"),
    samples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    per_class: bool = False,
) -> Comparison:
    """Compare two evaluators that have seen the answers of two models for the same images.

    Args:
        first: has seen the answers of the first model.
        second: an evaluator of the same kind, for the second model.
        names: how the two are called.
        samples: the number of resampled data sets.
        confidence: the share of data sets whose interval contains the difference of all images of that kind.
        seed: the same seed gives the same intervals.
        per_class: also compare the numbers of each class.

    Raises:
        InputError: the evaluators have measured different data, an argument is out of range, or the evaluator cannot
            weight images.
    """
    check_samples(samples, confidence)
    if (first.name, first.headline) != (second.name, second.headline):
        raise InputError(
            f"{names[0]} is evaluated by {first.name} ({first.headline}), {names[1]} by {second.name} "
            f"({second.headline}): compare the same numbers."
        )
    weightings = (first.image_weighting(), second.image_weighting())
    joined = join_data(weightings[0].data, weightings[1].data, names)
    numbers, by_class = _differences(weightings, joined, samples, confidence, seed, per_class)
    if first.headline not in numbers:
        raise InputError(
            f"{type(first).__name__}: its image_weighting() gives {', '.join(numbers) or 'nothing'}, but not its "
            f"headline {first.headline}: let it give that too."
        )
    return Comparison(
        evaluator=first.name,
        names=names,
        images=len(joined.images),
        headline=first.headline,
        higher_is_better=first.higher_is_better,
        scale=first.scale_of(first.headline),
        confidence=confidence,
        numbers=numbers,
        by_class=by_class,
        notes=joined.notes,
        scales={name: first.scale_of(name) for name in numbers if first.scale_of(name) != first.scale},
    )


def check_samples(samples: int, confidence: float) -> None:
    """Raise an `InputError` where one is out of range."""
    if samples < 2:
        raise InputError(f"bootstrap samples must be at least 2, got {samples}.")
    if not 0 < confidence < 1:
        raise InputError(f"confidence must be between 0 and 1, got {confidence}.")


def _differences(
    weightings: tuple[ImageWeighting, ImageWeighting],
    joined: Joined,
    samples: int,
    confidence: float,
    seed: int,
    per_class: bool,
) -> tuple[dict[str, Difference], dict[str, dict[str, Difference]]]:
    """The differences of all numbers, and those of each class."""
    images = len(joined.images)
    whole = _paired(weightings, joined, np.ones(images), per_class)
    drawn = [_paired(weightings, joined, weights, per_class) for weights in drawn_weights(images, samples, seed)]
    pairs = [whole, *drawn]

    def difference(values: np.ndarray) -> Difference:
        """Of ``(1 + samples, 2)`` values, those of all images first."""
        first, second = values[0].tolist()
        return difference_of(first, second, values[1:, 0], values[1:, 1], images, confidence)

    numbers = {
        name: difference(np.array([[one.of_all[name] for one in pair] for pair in pairs])) for name in whole[0].of_all
    }
    tables = {
        name: np.array([[one.by_class[name] for one in pair] for pair in pairs]) for name in whole[0].by_class
    }  # (1 + samples, 2, K)
    classes = weightings[0].data.classes if tables else []
    by_class = {
        label: {name: difference(values[..., k]) for name, values in tables.items()} for k, label in enumerate(classes)
    }
    return numbers, by_class


def _paired(
    weightings: tuple[ImageWeighting, ImageWeighting], joined: Joined, weights: np.ndarray, per_class: bool
) -> tuple[WeightedNumbers, WeightedNumbers]:
    """The numbers of both with the same images, and those of the classes in the order of the first."""
    first = weightings[0].numbers(weights, per_class)
    second = weightings[1].numbers(weights[joined.images], per_class)
    return first, replace(second, by_class={name: one[joined.classes] for name, one in second.by_class.items()})
