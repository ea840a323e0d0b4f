"""`Answer`, the result of a model for one image, and moving those of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, Self, cast

import torch

from detkit.structures.fields import Fields


class Answer(Protocol):
    """The result of a model for one image: `Detections`, a `Classification`, or the answer type of your own task."""

    def to(self, device: torch.device | str, /) -> Self:
        """The same with every tensor on `device`."""


def answers_on_cpu(answers: Sequence[Answer]) -> Sequence[Answer]:
    """The answers of a batch on the CPU: those of one of our types in one transfer for each field."""
    kinds = {type(answer) for answer in answers}
    if len(kinds) == 1 and isinstance(answers[0], Fields) and type(answers[0]).to is Fields.to:
        return type(answers[0]).batch_to(cast("Sequence[Any]", answers), "cpu")
    return [answer.to("cpu") for answer in answers]
