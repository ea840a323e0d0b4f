"""Windows over an image and the weighted mean of their logits, in bands of rows: only one band is in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.geometry import Size
from detkit.models.pixel.inference.frames import Frame
from detkit.models.pixel.inference.pixel_network import Network


class Band(NamedTuple):
    """Rows of logits that no further window changes.

    Args:
        top: the first row, in the frame without the margin of the network.
        logits: ``(K, rows, W)`` float32.
        margin: pixels of the frame on each side that the network gives no logits for.
    """

    top: int
    logits: Tensor
    margin: int


def starts(length: int, window: int, stride: int) -> list[int]:
    """Where windows begin on a line: `stride` apart, and the last ends with the line; 0 alone where it is shorter."""
    last = max(0, length - window)
    return [*range(0, last, stride), last]


def bands(
    frame: Frame, network: Network, size: Size, stride: Size, batch_size: int, gaussian: float | None
) -> Iterator[Band]:
    """The mean logits of all windows that show a pixel, by bands of rows from the top.

    Args:
        frame: of the image.
        network: of the model.
        size: (height, width) of a window.
        stride: (vertical, horizontal) distance of windows.
        batch_size: windows that pass through the network at once.
        gaussian: standard deviation of the windows' weights, as a share of their sides; None: equal weights.

    Raises:
        InputError: windows leave out pixels, since a network without padding answers for their middle alone.
    """
    tops, lefts = (starts(frame.size[axis], size[axis], stride[axis]) for axis in (0, 1))
    totals: Tensor | None = None
    for number, top in enumerate(tops):
        for first in range(0, len(lefts), batch_size):
            own = lefts[first : first + batch_size]
            values, margin = network(torch.stack([frame.window(top, left, size) for left in own]))
            _check_stride(stride, size, margin)
            weights = _weights((values.shape[-2], values.shape[-1]), gaussian, values)
            if totals is None:
                totals = values.new_zeros(values.shape[1] + 1, values.shape[2], lefts[-1] + values.shape[3])
            for left, window in zip(own, values, strict=True):
                part = totals[:, :, left : left + window.shape[-1]]
                part[:-1] += window * weights
                part[-1] += weights
        assert totals is not None  # there is a window
        following = tops[number + 1] - top if number + 1 < len(tops) else totals.shape[1]
        height, width = (side - 2 * margin for side in frame.size)
        done = totals[:, : min(following, height - top), :width]
        yield Band(top, done[:-1] / done[-1], margin)
        rest = totals.shape[1] - following
        remaining = totals[:, following:].clone()
        totals.zero_()[:, :rest] = remaining


def _weights(size: Size, gaussian: float | None, like: Tensor) -> Tensor:
    """``(h, w)``: 1, or a bell around the middle; nowhere so small that a single window's logits lose precision."""
    if gaussian is None:
        return like.new_ones(size)
    bells = []
    for side in size:
        offsets = (torch.arange(side, dtype=torch.float32, device=like.device) + 0.5) / side - 0.5
        bells.append(torch.exp(-0.5 * (offsets / gaussian) ** 2))
    return (bells[0][:, None] * bells[1]).clamp_(min=1e-4)


def _check_stride(stride: Size, size: Size, margin: int) -> None:
    for step, side in zip(stride, size, strict=True):
        if step > side - 2 * margin:
            raise InputError(
                f"inference: windows of {side} pixels answer for {side - 2 * margin} of them, but the next one is "
                f"{step} pixels away: set a stride of at most {side - 2 * margin}"
            )
