"""The pairs of numbers that two maps have in common pixels, such as those of segments."""

from __future__ import annotations

import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.ops.library import NATIVE_DEVICES


def label_pairs(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """The distinct pairs of numbers of two maps, and the pixels of each: the intersections of their segments.

    Args:
        first: a number for each pixel, int32 of any shape on the CPU.
        second: likewise, of the same shape.

    Returns:
        The P pairs ``(P, 2)`` int32, ordered by their first number, then by their second, and their numbers of pixels
        ``(P,)`` int64, which sum to that of the map.

    Raises:
        InputError: shape, dtype or device does not fit.
    """
    for name, numbers in (("first", first), ("second", second)):
        if not isinstance(numbers, Tensor) or numbers.dtype != torch.int32 or numbers.device.type != "cpu":
            given = f"{numbers.dtype} on {numbers.device}" if isinstance(numbers, Tensor) else type(numbers).__name__
            raise InputError(f"{name} must be an int32 tensor on the CPU, got {given}")
    if first.shape != second.shape:
        raise InputError(f"first and second must be of one shape, got {tuple(first.shape)} and {tuple(second.shape)}")
    if "cpu" in NATIVE_DEVICES:
        pairs, pixels = torch.ops.detkit.label_pairs(first, second)
        return pairs, pixels
    return label_pairs_reference(first, second)


def label_pairs_reference(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """`label_pairs` in plain torch."""
    together = first.long().flatten() * 2**32 + (second.long().flatten() + 2**31)  # ordered as the pairs are
    distinct, pixels = torch.unique(together, return_counts=True)
    pairs = torch.stack([distinct >> 32, (distinct & (2**32 - 1)) - 2**31], dim=1)
    return pairs.int(), pixels


def _fake_label_pairs(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    count = torch.library.get_ctx().new_dynamic_size()
    return first.new_empty(count, 2), first.new_empty(count, dtype=torch.int64)


if NATIVE_DEVICES:
    torch.library.register_fake("detkit::label_pairs", _fake_label_pairs)
