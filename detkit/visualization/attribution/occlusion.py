"""Occlusion sensitivity (Zeiler & Fergus 2013, section 4.2)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from detkit.errors import InputError

GRAY = 0.5


class Occlusion(NamedTuple):
    """The score of an image with a gray square at each position.

    Args:
        scores: ``(rows, columns)``.
        pixels: ``(H, W)``, for each pixel the mean of the scores with it hidden.
    """

    scores: Tensor
    pixels: Tensor


@torch.no_grad()
def occlusion_sensitivity(
    score: Callable[[Tensor], Tensor], image: Tensor, side: int, step: int, batch_size: int = 16
) -> Occlusion:
    """Slide a gray square over an image and measure how the score falls.

    Squares lie within the image, the first and the last of a row at its borders and the others evenly between them, at
    most `step` apart.

    Args:
        score: from images ``(B, 3, H, W)`` in [0, 1] to the scores ``(B,)`` of one class or object.
        image: ``(3, H, W)``, uint8 or float in [0, 1].
        side: of the square, in pixels.
        step: pixels from one position to the next.
        batch_size: images that are scored at once.

    Raises:
        InputError: the square does not fit into the image, or its steps leave pixels out.
    """
    height, width = image.shape[-2:]
    if not 1 <= step <= side <= min(height, width):
        raise InputError(
            f"a square of side {side} that moves by {step} pixels does not fit an image of {height} x {width}: "
            f"the side must be in 1..{min(height, width)}, the step in 1..side"
        )
    image = image.float() / 255 if image.dtype == torch.uint8 else image.float()
    rows, columns = (_covered(length, side, step).to(image.device) for length in (height, width))
    positions = torch.cartesian_prod(torch.arange(len(rows)), torch.arange(len(columns))).to(image.device)
    batches = []
    for batch in positions.split(batch_size):
        hidden = rows[batch[:, 0]][:, None, :, None] & columns[batch[:, 1]][:, None, None, :]
        batches.append(score(torch.where(hidden, GRAY, image)).float().cpu())
    scores = torch.cat(batches).view(len(rows), len(columns))
    rows, columns = rows.float().cpu(), columns.float().cpu()
    return Occlusion(scores, (rows.T @ scores @ columns) / (rows.T @ torch.ones_like(scores) @ columns))


def _covered(length: int, side: int, step: int) -> Tensor:
    """Bool ``(positions, length)``: the pixels of a line that the square covers at each of its positions."""
    count = math.ceil((length - side) / step) + 1
    starts = torch.linspace(0, length - side, count, dtype=torch.float64).round()[:, None]
    pixels = torch.arange(length)
    return (pixels >= starts) & (pixels < starts + side)
