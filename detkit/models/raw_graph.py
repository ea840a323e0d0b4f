"""The part of a model that is exported as one graph: backbone, neck and heads, without postprocessing."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from detkit.models.vision_model import VisionModel


class Raw(nn.Module):
    """The method `raw` of a model as a module, for `torch.export` and `torch.onnx`.

    Args:
        model: any model whose `raw` takes images only.
    """

    def __init__(self, model: VisionModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Any:
        """The output of ``model.raw`` for preprocessed `images` ``(B, 3, H, W)``."""
        return self.model.raw(images)
