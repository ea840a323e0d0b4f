"""`Pixels`, the identity backbone: the image is its own feature map."""

from __future__ import annotations

from torch import Tensor

from detkit.backbones.backbone import Backbone


class Pixels(Backbone):
    """Returns the images unchanged, for systems that crop pixels (R-CNN)."""

    def __init__(self) -> None:
        super().__init__()
        self.channels, self.strides = [3], [1]

    def forward(self, images: Tensor) -> list[Tensor]:
        """The `images` ``(B, 3, H, W)``."""
        return [images]
