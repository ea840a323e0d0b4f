"""Raw outputs that are not finite: noted where they leave the heads, and looked at once at the end of a model's call.

Postprocessing drops scores and boxes that are not finite. What it drops is noted here first, so that no model returns
fewer detections without a word; see `detkit.models.not_finite`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass
class Notes:
    """What one call of a model noted.

    Args:
        exact: tell values that are finite from those whose sum alone is not, which takes longer.
        sums: by the name of a head or a step, the sum of each of its tensors, or a number that is as finite.
    """

    exact: bool = False
    sums: list[tuple[str, Tensor]] = field(default_factory=list)

    def not_finite(self) -> list[str]:
        """The names of the outputs with a value that is not finite; waits for the device once."""
        if not self.sums:
            return []
        finite = torch.stack([total.float() for _, total in self.sums]).isfinite().tolist()
        return list(dict.fromkeys(name for (name, _), good in zip(self.sums, finite, strict=True) if not good))


_NOTES: ContextVar[Notes | None] = ContextVar("notes", default=None)


@contextmanager
def noting(exact: bool = False) -> Iterator[Notes]:
    """Collect what is noted within; outside of it nothing is noted. See `Notes` for `exact`."""
    notes = Notes(exact)
    token = _NOTES.set(notes)
    try:
        yield notes
    finally:
        _NOTES.reset(token)


def note(name: str, raw: Any) -> None:
    """Note whether all tensors of `raw` are finite, without waiting for the device; nothing in an exported graph.

    Args:
        name: of the head or the step, for messages.
        raw: a tensor, or tensors in lists, tuples, dicts and dataclasses of any depth.
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return
    notes = _NOTES.get()
    if notes is None:
        return
    for tensor in tensors_in(raw):
        if tensor.is_floating_point():
            notes.sums.append((name, _total(tensor.detach(), notes.exact)))


def tensors_in(values: Any) -> Iterator[Tensor]:
    """The tensors in lists, tuples, dicts and dataclasses of any depth."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, (list, tuple)):
        for value in values:
            yield from tensors_in(value)
    elif isinstance(values, Mapping):
        yield from tensors_in(list(values.values()))
    elif is_dataclass(values) and not isinstance(values, type):
        yield from tensors_in([getattr(values, part.name) for part in fields(values)])


def _total(tensor: Tensor, exact: bool) -> Tensor:
    """The sum, NaN or infinite if a value is: one pass without a copy, which `isfinite` would make."""
    if exact:
        return torch.where(tensor.isfinite().all(), 0.0, torch.nan)
    with torch.autocast(tensor.device.type, enabled=False):
        # The sum of finite float16 numbers may exceed their range; bfloat16 has that of float32.
        return tensor.sum(dtype=torch.float32 if tensor.dtype == torch.float16 else None)
