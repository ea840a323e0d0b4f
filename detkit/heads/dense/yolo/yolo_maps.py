"""The outputs of a YOLO's 1x1 convolutions as predictions of anchors.

B  images     A  anchors of a cell     P  predictions of an image over all levels, in the order (anchor, y, x)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def per_anchor(x: Tensor, anchors: int) -> Tensor:
    """``(B, A * values, H, W)`` as ``(B, A, H, W, values)``."""
    return torch.unflatten(x, 1, (anchors, -1)).permute(0, 1, 3, 4, 2)


def flatten_levels(raw: Sequence[Tensor]) -> Tensor:
    """The outputs of all levels ``(B, P, values)``, float32 under autocast too."""
    return torch.cat([x.float().flatten(1, 3) for x in raw], dim=1)
