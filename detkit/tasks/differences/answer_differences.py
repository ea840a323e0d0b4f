"""What a comparison of answers finds: the largest difference of each output, what has no partner, and why."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Largest:
    """The largest difference of one output over all images.

    Args:
        output: its name, ``boxes`` or ``scores``.
        size: the difference.
        unit: of it, as words follow a number; empty for numbers without one.
        limit: what rounding may make of it.
        image: the id of the image in which it is.
        where: the place in words, ``cat 0.830, box (10, 20, 60, 75)``.
        beyond: how many differences exceed their limit.
    """

    output: str
    size: float
    unit: str
    limit: float
    image: Any
    where: str
    beyond: int = 0

    @property
    def excess(self) -> float:
        """How many times the limit it is."""
        return self.size / self.limit

    @property
    def rank(self) -> tuple[float, float]:
        """What the largest is chosen by."""
        return self.excess, self.size


@dataclass(frozen=True)
class AnswerDifferences:
    """How given answers differ from the expected ones.

    Args:
        images: the number of images.
        predictions: the number of predictions that were compared.
        largest: of each output, those of pairs.
        counts: how many pairs there are, and how many predictions have no partner, in words.
        unpaired: how many predictions of either side have no partner although no threshold is near.
        borderline: how many have none that lie at a threshold.
        causes: a sentence on each cause that the differences show.
    """

    images: int
    predictions: int
    largest: tuple[Largest, ...]
    counts: dict[str, int] = field(default_factory=dict)
    unpaired: int = 0
    borderline: int = 0
    causes: tuple[str, ...] = ()

    @property
    def mismatches(self) -> int:
        """How many predictions differ by more than rounding, or have no partner."""
        return self.unpaired + max((one.beyond for one in self.largest), default=0)

    @property
    def agree(self) -> bool:
        """Whether nothing but rounding differs."""
        return not self.causes and not self.mismatches


class DifferenceCollector(ABC):
    """Collects how answers differ, image by image."""

    @abstractmethod
    def add(self, image_id: Any, size: tuple[int, int], expected: Any, given: Any) -> None:
        """Compare the answers to one image.

        Args:
            image_id: its id.
            size: its height and width in pixels.
            expected: the answer of the checkpoint.
            given: that of the file.
        """

    @abstractmethod
    def result(self) -> AnswerDifferences:
        """What was found so far."""


class LargestOf:
    """Keeps the largest difference of each output, measured by its limit."""

    def __init__(self) -> None:
        self.found: dict[str, Largest] = {}

    def add(self, one: Largest, beyond: int) -> None:
        """Keep it if it is the largest of its output.

        Args:
            one: the largest difference of an image.
            beyond: how many of the image exceed their limit.
        """
        known = self.found.get(one.output)
        total = beyond + (0 if known is None else known.beyond)
        # A difference that is no number exceeds all. The size decides where no limit does.
        is_larger = known is None or one.excess != one.excess or one.rank > known.rank
        self.found[one.output] = replace(one if is_larger or known is None else known, beyond=total)

    def all(self) -> tuple[Largest, ...]:
        """One of each output."""
        return tuple(self.found.values())
