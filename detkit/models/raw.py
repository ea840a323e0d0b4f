"""The part of a detector that becomes one graph, as a module."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from detkit.models.detector import VisionModel


class Raw(nn.Module):
    """`raw` of a detector as a module of its own, which is what `torch.export` and `torch.onnx` take.

    Args:
        model: a detector with `raw`: single-stage or two-stage.
    """

    def __init__(self, model: VisionModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Any:
        """What ``model.raw`` says of `images` ``(B, 3, H, W)``, preprocessed."""
        return self.model.raw(images)
