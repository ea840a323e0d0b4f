"""How many answers of a model rounding decides: those that change with noise as small as it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from detkit.heads.context import Context
from detkit.models import VisionModel
from detkit.preprocess import Batch
from detkit.structures import Target
from detkit.tasks import task_of

DRAWS = 3
NOISE = 1e-5
"""The standard deviation of the noise of normalized pixels: what the rounding of many layers in float32 amounts to."""


@torch.no_grad()
def answers_of_batch(model: VisionModel, batch: Batch, targets: Sequence[Target]) -> list[Any]:
    """The answers of a model to preprocessed images.

    Args:
        model: in evaluation mode.
        batch: the images.
        targets: what the model asks for with each; may be empty if it asks for nothing.
    """
    network = model.folded()
    given = model.preprocess.targets(targets, batch) if model.asks_for else None
    context = Context(batch, given=given)
    return list(network.decode(network.heads(network.features(batch), context), context))


def ties(model: VisionModel, batch: Batch, targets: Sequence[Target], expected: Sequence[Any], tolerance: float) -> int:
    """How many predictions of a batch change with noise, the most of three draws.

    Equal scores of flat regions are such: each runtime ranks them in its own way.

    Args:
        model: in evaluation mode.
        batch: the images.
        targets: what the model asks for with each.
        expected: the answers without noise.
        tolerance: how many times the rounding of float32.
    """
    most = 0
    for seed in range(DRAWS):
        noise = torch.randn(batch.images.shape, generator=torch.Generator().manual_seed(seed))
        noisy = replace(batch, images=batch.images + NOISE * tolerance * noise)
        collected = task_of(model).differences(model.categories or [], tolerance)
        answers = answers_of_batch(model, noisy, targets)
        for placement, own, other in zip(batch.placements, expected, answers, strict=True):
            collected.add(None, placement.given_size, own, other)
        most = max(most, collected.result().mismatches)
    return most
