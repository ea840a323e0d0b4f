"""A training step in the precision of a trainer."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from detkit.models import VisionModel
from detkit.structures import Target

_TYPES = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """The context of a step: autocast for mixed precision, else nothing."""
    dtype = _TYPES.get(str(precision))
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)


def losses_of(
    model: VisionModel, images: Sequence[Tensor], targets: Sequence[Target], precision: str, device: torch.device
) -> dict[str, Tensor]:
    """The losses of a batch in a precision."""
    with autocast(precision, device):
        losses: dict[str, Tensor] = model([image.to(device) for image in images], targets)
    return losses
