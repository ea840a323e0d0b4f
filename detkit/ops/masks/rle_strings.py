"""COCO's compressed strings of run lengths, ``counts`` of its JSON files: encoding and decoding."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.files.json_values import is_finite_numbers, shown
from detkit.ops.library import NATIVE_DEVICES, is_native
from detkit.ops.masks.ragged import fake_rows, offsets_of, pack_rows, unpack_rows

_MOST_PIXELS = 2**31 - 1
"""The largest image that run lengths, int32, can describe."""


def runs_to_strings(counts: Tensor, offsets: Tensor) -> list[bytes]:
    """The compressed string of each of N masks, given by its runs: see `detkit.ops.RunLengths`."""
    if is_native(counts.device):
        characters, begins = torch.ops.detkit.runs_to_strings(counts, offsets)
    else:
        characters, begins = runs_to_strings_reference(counts, offsets)
    text = characters.numpy().tobytes()
    return [text[begin:end] for begin, end in pairwise(begins.tolist())]


def strings_to_runs(strings: Sequence[bytes], height: int, width: int) -> tuple[Tensor, Tensor]:
    """The reverse of `runs_to_strings`: int32 counts ``(R,)`` and int64 offsets ``(N + 1,)``.

    Raises:
        InputError: a string is not a mask of that size in pixels.
    """
    characters = torch.frombuffer(bytearray(b"".join(strings)) or bytearray(1), dtype=torch.uint8)
    offsets = offsets_of([len(string) for string in strings])
    run = torch.ops.detkit.strings_to_runs if is_native(characters.device) else strings_to_runs_reference
    try:
        counts, begins = run(characters[: int(offsets[-1])], offsets, height, width)
    except RuntimeError as error:
        raise InputError(str(error)) from None
    return counts, begins


def compress_counts(several: Sequence[Any]) -> list[bytes]:
    """COCO's compressed string of each of N masks, from any of the forms that annotation files have.

    Args:
        several: the ``counts`` of each mask: bytes, text, or a list of run lengths.

    Raises:
        InputError: counts are none of these, or a run length is no whole number of pixels.
    """
    listed = {index: counts for index, counts in enumerate(several) if not isinstance(counts, (bytes, str))}
    runs = []
    for index, counts in listed.items():
        try:
            runs.append(checked_runs(counts))
        except InputError as error:
            raise InputError(f"mask {index}: {error}") from None
    written = dict(zip(listed, runs_to_strings(*pack_rows(runs)) if runs else (), strict=True))
    return [
        written[index] if index in written else one if isinstance(one, bytes) else one.encode(errors="replace")
        for index, one in enumerate(several)
    ]


def checked_runs(counts: Any) -> Tensor:
    """The run lengths of a mask, a list in annotation files, as int32 ``(R,)``.

    Raises:
        InputError: it is no list of whole numbers from 0 to 2^31 - 1.
    """
    counts = counts.tolist() if hasattr(counts, "tolist") else counts
    try:
        are_plain = isinstance(counts, list) and set(map(type, counts)) <= {int}
        runs = np.array(counts if are_plain or is_finite_numbers(counts) else [-1], np.int64 if are_plain else np.float64)
    except OverflowError:
        runs = np.array([-1])
    if not ((runs >= 0) & (runs <= _MOST_PIXELS) & (runs == np.floor(runs))).all():
        raise InputError(f"its run lengths {shown(counts)} are negative or no whole numbers of pixels")
    return torch.from_numpy(runs.astype(np.int32))


def runs_to_strings_reference(counts: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """`runs_to_strings` in plain torch: the uint8 characters of all strings, and their offsets."""
    strings = [write_string(runs.tolist()) for runs in unpack_rows(counts, offsets)]
    characters = torch.tensor(list(b"".join(strings)), dtype=torch.uint8)
    return characters, offsets_of([len(string) for string in strings])


def strings_to_runs_reference(characters: Tensor, offsets: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """`strings_to_runs` in plain torch, from the uint8 characters of all strings and their offsets."""
    runs = []
    for i, string in enumerate(unpack_rows(characters, offsets)):
        try:
            own = read_string(string.numpy().tobytes())
        except ValueError as error:
            raise RuntimeError(f"mask {i}: {error}") from None
        if any(run < 0 for run in own) or sum(own) != height * width:
            raise RuntimeError(f"mask {i}: its runs are negative, or do not sum to {height * width}")
        runs.append(torch.tensor(own, dtype=torch.int32))
    return pack_rows(runs)


def write_string(runs: list[int]) -> bytes:
    """COCO's compressed string of the runs of a mask."""
    digits = []
    for i, run in enumerate(runs):
        value = run - runs[i - 2] if i > 2 else run
        while not -16 <= value < 16:
            digits.append(value & 31 | 32)
            value >>= 5
        digits.append(value & 31)
    return bytes(ord("0") + digit for digit in digits)


def read_string(string: bytes) -> list[int]:
    """The reverse of `write_string`; a ValueError says where the string is malformed."""
    runs: list[int] = []
    value = shift = 0
    for at, character in enumerate(string):
        code = character - ord("0")
        if not 0 <= code < 64:
            raise ValueError(f"its character {at} is none of '0' to 'o'")
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("it ends within a number")
    return runs


def _fake_runs_to_strings(counts: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    return fake_rows(counts, offsets.shape[0] - 1, torch.uint8)


def _fake_strings_to_runs(characters: Tensor, offsets: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    return fake_rows(characters, offsets.shape[0] - 1, torch.int32)


if NATIVE_DEVICES:
    torch.library.register_fake("detkit::runs_to_strings", _fake_runs_to_strings)
    torch.library.register_fake("detkit::strings_to_runs", _fake_strings_to_runs)
