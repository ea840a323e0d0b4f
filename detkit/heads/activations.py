"""What makes scores in [0, 1] of logits ``(N, K)`` and, where the head asks for it, of objectness ``(N,)``."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Activation = Callable[[Tensor, Tensor | None], Tensor]


def sigmoid_scores(logits: Tensor, objectness: Tensor | None) -> Tensor:
    """Each class is a question of its own; times the probability that there is an object."""
    return _of_objects(logits.float().sigmoid(), objectness)


def softmax_scores(logits: Tensor, objectness: Tensor | None) -> Tensor:
    """One class is right; times the probability that there is an object."""
    return _of_objects(logits.float().softmax(dim=1), objectness)


def softmax_beside_background(logits: Tensor, objectness: Tensor | None) -> Tensor:
    """One class is right, or background, whose logit is 0."""
    background = logits.new_zeros(len(logits), 1)
    return _of_objects(torch.cat((logits, background), dim=1).float().softmax(dim=1)[:, :-1], objectness)


def root_of_sigmoids(logits: Tensor, objectness: Tensor | None) -> Tensor:
    """The geometric mean of both probabilities."""
    return sigmoid_scores(logits, objectness).sqrt()


def above_background(logits: Tensor) -> Tensor:
    """Logits ``(..., K)`` for which that of background is 0, of `logits` ``(..., K + 1)``, background last."""
    return logits[..., :-1] - logits[..., -1:]


def _of_objects(scores: Tensor, objectness: Tensor | None) -> Tensor:
    return scores if objectness is None else scores * objectness.float().sigmoid()[:, None]
