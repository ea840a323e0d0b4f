"""Rows of several objects in one tensor, one object after the other: the object of each row, the corners of each face.

Values that do not fit are refused where torch refuses them, on the CPU: a check of their own would wait for a device.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.files.json_values import shown


def object_index(counts: Tensor, length: int) -> Tensor:
    """The object of each packed row, ``(length,)`` int64: ``[2, 0, 1]`` gives ``[0, 0, 2]``.

    Args:
        counts: ``(N,)`` int64, the rows of each object.
        length: the sum of `counts`, for which a device would have to be waited for.

    Raises:
        InputError: on the CPU, that is not their sum, or one is negative.
    """
    if length and not len(counts):
        raise _wrong_counts(counts, length)  # torch gives rows without a value
    try:
        return torch.repeat_interleave(counts, output_size=length)
    except RuntimeError:
        if counts.is_cpu and (int(counts.sum()) != length or bool((counts < 0).any())):
            raise _wrong_counts(counts, length) from None
        raise


def _wrong_counts(counts: Tensor, length: int) -> InputError:
    return InputError(
        f"the counts of the objects are {shown(counts.tolist())}, but there are {length} rows; give counts of at least "
        "0 that sum to the number of rows"
    )


def corners_of(vertices: Tensor, faces: Tensor) -> Tensor:
    """The vertices of each face ``(F, 3, 3)``.

    Raises:
        InputError: on the CPU, a face names no vertex.
    """
    try:
        return vertices[faces]
    except IndexError:
        is_wrong = ((faces < -len(vertices)) | (faces >= len(vertices))).any(1)
        if faces.is_cpu and bool(is_wrong.any()):
            row = int(is_wrong.nonzero()[0])
            raise InputError(
                f"faces[{row}] is {faces[row].tolist()}, but there are {len(vertices)} vertices, counted from 0; "
                "correct the faces"
            ) from None
        raise


def members(counts: Tensor, block: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The members of groups of these sizes, at most `block` at once: the group of each, and its number within it.

    Waits for the device, to learn how many there are.
    """
    ends = counts.cumsum(0)
    starts = ends - counts
    total = int(ends[-1]) if len(ends) else 0
    for begin in range(0, total, block):
        end = min(begin + block, total)
        within = ends.clamp(begin, end) - starts.clamp(begin, end)
        group = torch.repeat_interleave(within, output_size=end - begin)
        yield group, torch.arange(begin, end, device=counts.device) - starts[group]
