"""The warning of weights in a file that are not finite."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

_MOST_NAMED = 5


def all_finite(tensor: Tensor) -> bool:
    """Whether all values of `tensor` are finite; integers are."""
    if not tensor.is_floating_point() and not tensor.is_complex():
        return True
    # A sum makes no copy; one that overflows is looked at again.
    return bool(tensor.sum(dtype=torch.float32).isfinite()) or bool(tensor.isfinite().all())


def warn_unless_finite(tensors: Mapping[str, Tensor], source: str) -> None:
    """Warn once of all `tensors` from `source` that hold a value that is not finite, by their names."""
    warn_of_tensors([name for name, tensor in tensors.items() if not all_finite(tensor)], source)


def warn_of_tensors(names: Sequence[str], source: str) -> None:
    """Warn that the tensors `names` from `source` hold values that are not finite; nothing without names."""
    if not names:
        return
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    warnings.warn(
        f"{source}: {', '.join(names[:_MOST_NAMED])}{more} hold weights that are not finite; the model's output will "
        "not be finite either, so give another file",
        stacklevel=3,
    )
