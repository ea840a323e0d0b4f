"""What a check has found: a verdict, a sentence, and what to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Verdict = Literal["passed", "warning", "failed", "skipped"]

Check = Literal[
    "annotations", "classes", "pixels", "round_trip", "augmentation", "anchors",
    "memory", "workers", "random", "precision", "overfit",
]  # fmt: skip
"""The checks, in their order."""

ORDER: tuple[Verdict, ...] = ("skipped", "passed", "warning", "failed")
"""Verdicts, the worst last."""


@dataclass(frozen=True)
class Finding:
    """The result of a check.

    Args:
        check: its name, by which it can be skipped.
        verdict: whether it passed.
        sentence: what was found.
        notes: further sentences: what is wrong, and what to do about each.
        numbers: what was measured, for a JSON file.
    """

    check: Check
    verdict: Verdict
    sentence: str
    notes: list[str] = field(default_factory=list)
    numbers: dict[str, Any] = field(default_factory=dict)

    def entry(self) -> dict[str, Any]:
        """The finding for a JSON file."""
        return {"verdict": self.verdict, "sentence": self.sentence, "notes": self.notes, "numbers": self.numbers}


def worst(*verdicts: Verdict) -> Verdict:
    """The worst of some verdicts; passed if there are none."""
    return max(verdicts or ("passed",), key=ORDER.index)
