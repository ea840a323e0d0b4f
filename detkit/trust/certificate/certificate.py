"""`Certificate`: what is known of an exported file, and whether it stands for its checkpoint."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from detkit.evaluation.tables.shown_numbers import decimals_of, shown
from detkit.exporting.runtimes import ExportedFile
from detkit.tasks.differences import AnswerDifferences
from detkit.trust.certificate.certificate_findings import Finding
from detkit.trust.certificate.parting.parted_node import Parting
from detkit.trust.comparison import Comparison

TOLERANCES = {"float32": 1.0, "float16": 10.0, "int8": 100.0}
"""How many times as much as in float32 rounding may change, by precision: scores by 0.001, 0.01 and 0.1."""

CALLED = ("checkpoint", "file")


@dataclass(frozen=True)
class Certificate:
    """A file against its checkpoint.

    Args:
        file: the file.
        findings: what differs, faults first or not.
        differences: of the answers to the images of the data.
        comparisons: by evaluator, the paired bootstrap of both; empty where there was nothing to evaluate.
        allowed: how much a headline may differ in a lower precision, in points as they are shown.
        skipped: the number of images that are too large for the file.
        parting: where the graphs part; None where the file is certified.
        ties: of the answers to images in which equal values explain all that differs; None is as if there were none.
    """

    file: ExportedFile
    findings: tuple[Finding, ...]
    differences: AnswerDifferences
    comparisons: dict[str, Comparison] = field(default_factory=dict)
    allowed: float = 0.5
    skipped: int = 0
    parting: Parting | None = None
    ties: AnswerDifferences | None = None

    @property
    def faults(self) -> list[Finding]:
        """The findings with which a file is not certified."""
        return [one for one in self.findings if one.is_fault]

    @property
    def agrees(self) -> bool:
        """Whether the answers differ by rounding alone; those of INT8 never do."""
        return self.file.precision != "int8" and self.differences.agree and not self.causes

    @property
    def causes(self) -> tuple[str, ...]:
        """Why answers differ, as far as it shows."""
        return tuple(dict.fromkeys([*self.differences.causes, *(self.ties.causes if self.ties else ())]))

    @property
    def images(self) -> int:
        """How many were compared."""
        return self.differences.images + (self.ties.images if self.ties else 0)

    @property
    def reasons(self) -> list[str]:
        """Why it is not certified; empty where it is."""
        subjects = ", ".join(dict.fromkeys(one.subject for one in self.faults))
        reasons = [f"it differs in {subjects}"] if subjects else []
        if self.images == 0:
            return [*reasons, "no image was compared"]
        if self.differences.predictions == 0:
            return [*reasons, "neither finds anything in these images, which proves nothing"]
        if self.agrees:
            return reasons
        if self.file.precision == "float32":
            return [*reasons, "its answers differ by more than rounding in float32"]
        if not self.comparisons:
            return [*reasons, "nothing was measured"]
        return [*reasons, *filter(None, (self._of(one) for one in self.comparisons.values()))]

    @property
    def is_certified(self) -> bool:
        """Whether the file stands for the checkpoint."""
        return not self.reasons

    @property
    def verdict(self) -> str:
        """One sentence."""
        if not self.is_certified:
            return f"not certified: {'; '.join(self.reasons)}."
        if self.agrees:
            images = f"{self.images:,} image{'s' if self.images > 1 else ''}"
            what = f"its answers to {images} are those of the checkpoint up to rounding"
            return f"certified: {what} in {self.file.precision}."
        bounds = ", ".join(
            f"{one.headline} differs by at most {_points(_reach(one), one)} (allowed: {self.allowed:g})"
            for one in self.comparisons.values()
        )
        return f"certified in {self.file.precision}: {bounds}, over {self.images:,} images."

    def _of(self, one: Comparison) -> str | None:
        """Why a number does not certify a file of lower precision; None where it does."""
        head, name = one.head, one.headline
        if math.isnan(head.low):
            return f"{one.images} images cannot tell how much its {name} differs"
        if one.higher_is_better and one.scale * head.first <= 2 * self.allowed:
            return f"{name} of the checkpoint is {_points(head.first, one)}, too low to prove anything"
        reach = _reach(one)
        if one.scale * reach <= self.allowed:
            return None
        low, high = _points(head.low, one), _points(head.high, one)
        sure = min(abs(head.low), abs(head.high)) * one.scale > self.allowed and head.differs
        words = "differs by more" if sure else "may differ by more"
        return f"its {name} {words} than {self.allowed:g}: checkpoint − file is {low} to {high}"


def _reach(one: Comparison) -> float:
    """The greatest difference within the interval."""
    return max(abs(one.head.low), abs(one.head.high))


def _points(value: float, one: Comparison) -> str:
    return shown(value, one.scale, decimals_of(one.scale) + 1)
