"""The precision that losses and boxes are computed in."""

from __future__ import annotations

import torch
from torch import Tensor


def precise(values: Tensor) -> Tensor:
    """`values` in float32, also under autocast; float64 stays float64."""
    return values if values.dtype == torch.float64 else values.float()
