"""`StartReport`: what a model has taken from other weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from detkit.models.transfer.matched_names import MatchedNames

_MOST = 8  # names in a line


@dataclass(frozen=True)
class StartReport:
    """What a model has taken from other weights, for every tensor of both.

    Args:
        source: of the weights.
        taken: names of tensors that were taken whole.
        merged: names of tensors of which the rows of the same classes were taken.
        missing: names that the source lacks; they keep their initial values.
        mismatched: names in both of another shape; they keep their initial values.
        unused: names of the source that the model lacks.
        parameters: numbers that were taken, and those of the model.
        names: the rows that were taken, of classes and of keypoints.
        unknown: names of heads that do not say which outputs belong to classes, where the classes are others.
        constants: numbers that the weights rely on and that are others in the model, each with the model's.
    """

    source: str
    taken: list[str]
    merged: list[str]
    missing: list[str]
    mismatched: list[tuple[str, tuple[int, ...], tuple[int, ...]]]
    unused: list[str]
    parameters: tuple[int, int]
    names: Mapping[str, MatchedNames] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    constants: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        """Whether every tensor was taken, and nothing is to be looked at."""
        by_number = any(one.by_number for one in self.names.values())
        return not (self.missing or self.mismatched or self.unknown or self.constants or by_number)

    def __str__(self) -> str:
        return "\n  ".join([self._summary(), *self._of_classes(), *self._of_tensors(), *self._of_constants()])

    def _summary(self) -> str:
        total = len(self.taken) + len(self.merged) + len(self.missing) + len(self.mismatched)
        taken, of_model = self.parameters
        rows = f" and the rows of known classes of {len(self.merged)}" if self.merged else ""
        share = f"{taken / 1e6:.2f} of {of_model / 1e6:.2f} million numbers"
        return f"started from {self.source}: took {len(self.taken)} of {total} tensors whole{rows}, {share}"

    def _of_classes(self) -> Iterable[str]:
        for what, names in self.names.items():
            if names.by_number:
                yield f"the names of its {what} are not known: the {len(names.pairs)} rows are taken by their number"
            if names.kept:
                yield f"{what} of the same name, whose rows are taken: {listed(names.kept)}"
            if names.new:
                yield f"{what} that are new, their rows as initialized: {listed(names.new)}"
            if names.left:
                yield f"{names.left} {what} of the source are not used"
        for name in self.unknown:
            yield (
                f"{name or 'the model'} does not say which outputs belong to classes (class_rows): its tensors of the "
                "same shape are taken whole, although the classes are others"
            )

    def _of_tensors(self) -> Iterable[str]:
        shapes = [f"{name} (source {given}, model {own})" for name, given, own in self.mismatched]
        for title, names in {
            "not in the source, left as initialized": self.missing,
            "of another shape, left as initialized": shapes,
            "in the source, not used": self.unused,
        }.items():
            if names:
                yield f"{len(names)} {title}: {listed(names)}"

    def _of_constants(self) -> Iterable[str]:
        for name, (given, own) in self.constants.items():
            yield f"{name} is {_numbers(given)} in the source, {_numbers(own)} in this model"


def listed(names: Sequence[str]) -> str:
    """The first of `names`, and how many more there are."""
    return ", ".join(names[:_MOST]) + (f" and {len(names) - _MOST} more" if len(names) > _MOST else "")


def _numbers(values: Tensor) -> str:
    numbers = [f"{number:.4g}" for number in values.flatten().tolist()]
    return f"({listed(numbers)})"
