"""What every head that looks everywhere at once promises."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from detkit.structures import Detections, Target


class DenseHead(nn.Module):
    """A head that answers at every cell of the feature maps, with a loss of its own.

    A detector builds it as ``head(in_channels, strides, num_classes)``: channels and strides of the maps, finest first,
    and the number of classes without background. Further arguments come from the config.
    """

    def forward(self, features: list[Tensor], padded_size: tuple[int, int]) -> Any:
        """Raw outputs on `features` ``(B, Ci, Hi, Wi)``, finest first; no thresholds.

        Args:
            features: the maps that the head was built for.
            padded_size: (height, width) of the image batch in pixels.
        """
        raise NotImplementedError

    def losses(self, raw: Any, targets: list[Target], image_sizes: Sequence[tuple[int, int]]) -> dict[str, Tensor]:
        """Named scalar losses of `raw`; the same names at every step, attached to the graph also without objects.

        Args:
            raw: what `forward` says.
            targets: ground truth of each image, in pixels of the network's input.
            image_sizes: (height, width) of each image without padding.
        """
        raise NotImplementedError

    def decode(self, raw: Any, image_sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        """The detections of each image, in pixels of the network's input."""
        raise NotImplementedError
