"""Class scores in [0, 1] from logits ``(N, K)`` and, for heads that predict it, objectness logits ``(N,)``."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Activation = Callable[[Tensor, Tensor | None], Tensor]


def sigmoid_scores(logits: Tensor, objectness: Tensor | None) -> Tensor:
    """Independent probabilities of the classes, times the probability that there is an object."""
    return _times_objectness(logits.float().sigmoid(), objectness)


def softmax_scores(logits: Tensor, objectness: Tensor | None) -> Tensor:
    """A softmax over the classes, times the probability that there is an object."""
    return _times_objectness(logits.float().softmax(dim=1), objectness)


def softmax_with_background(logits: Tensor, objectness: Tensor | None) -> Tensor:
    """A softmax over the classes and background, whose logit is 0; background is left out of the result."""
    background = logits.new_zeros(len(logits), 1)
    return _times_objectness(torch.cat((logits, background), dim=1).float().softmax(dim=1)[:, :-1], objectness)


def geometric_mean_of_sigmoids(logits: Tensor, objectness: Tensor | None) -> Tensor:
    """The geometric mean of the class probability and the objectness (FCOS)."""
    return sigmoid_scores(logits, objectness).sqrt()


def subtract_background(logits: Tensor) -> Tensor:
    """Class logits ``(..., K)`` relative to the last of `logits` ``(..., K + 1)``, which is that of background."""
    return logits[..., :-1] - logits[..., -1:]


def _times_objectness(scores: Tensor, objectness: Tensor | None) -> Tensor:
    return scores if objectness is None else scores * objectness.float().sigmoid()[:, None]
