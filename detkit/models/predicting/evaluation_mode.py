"""A model in evaluation mode for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from detkit.models.folding import forget

if TYPE_CHECKING:
    from detkit.models.vision_model import VisionModel


@contextmanager
def evaluation_mode(model: VisionModel) -> Iterator[None]:
    """Put `model` into evaluation mode; at the end every layer is back in its own mode."""
    in_training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in in_training:
            module.training = True
        if in_training:
            forget(model)  # as `train` does
