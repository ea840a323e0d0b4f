"""`ScoreThresholds`: those of a model as tensors of its graph, so that a check can move them in the finished file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import nn

from detkit.heads.postprocessed_head import PostprocessedHead

_ATTRIBUTE = "score_thresholds"
"""The attribute of a graph that holds them."""


def score_threshold_name(index: int) -> str:
    """The name of the tensor of a score threshold in an exported file."""
    return f"{_ATTRIBUTE}.{index}"


def is_score_threshold(name: str) -> bool:
    """Whether a tensor of an exported file, by its name, is a score threshold."""
    return f"{_ATTRIBUTE}." in name


class HasScoreThreshold(Protocol):
    """A `Postprocess`, or a module with a score threshold of its own."""

    score_threshold: float | None


class ScoreThresholds(nn.Module):
    """The score threshold of each `Postprocess` of a model and of each module with its own, as a buffer.

    Args:
        model: the model.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        heads = [module for module in model.modules() if isinstance(module, PostprocessedHead)]
        found: list[Any] = [head.postprocess for head in heads if "postprocess" in head.own_values]
        found += [module for module in model.modules() if "score_threshold" in vars(module)]
        self._owners: list[HasScoreThreshold] = [one for one in found if one.score_threshold is not None]
        for index, owner in enumerate(self._owners):
            self.register_buffer(str(index), torch.tensor(owner.score_threshold))

    def __len__(self) -> int:
        return len(self._owners)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within it, each owner compares with its buffer instead of a number."""
        before = [owner.score_threshold for owner in self._owners]
        try:
            for index, owner in enumerate(self._owners):
                owner.score_threshold = self.get_buffer(str(index))  # type: ignore[assignment]  # compared alone
            yield
        finally:
            for owner, threshold in zip(self._owners, before, strict=True):
                owner.score_threshold = threshold

    @contextmanager
    def moved(self, thresholds: float | Sequence[float] | None) -> Iterator[None]:
        """Within it, all are `thresholds`, or each has its own of them; None leaves them."""
        before = [buffer.clone() for buffer in self.buffers()]
        moved = [thresholds] * len(self) if isinstance(thresholds, float) else thresholds
        try:
            for buffer, value in zip(self.buffers(), moved or [], strict=moved is not None):
                buffer.fill_(value)
            yield
        finally:
            for buffer, own in zip(self.buffers(), before, strict=True):
                buffer.copy_(own)
