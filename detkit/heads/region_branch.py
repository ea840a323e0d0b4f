"""What every branch of a two-stage detector promises."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from detkit.matching import SampledRegions
from detkit.structures import Detections


class RegionBranch(nn.Module):
    """A head that looks at cropped regions and answers one question about each, with a loss of its own.

    A detector builds its box branch as ``branch(in_channels, resolution, num_classes)``: channels of the crops, their
    height and width in cells, and the number of classes without background. Further arguments come from the config.
    """

    def forward(self, region_features: Tensor) -> Any:
        """Raw outputs for the crops ``(R, C, resolution, resolution)`` of all images of the batch; no thresholds."""
        raise NotImplementedError

    def losses(self, raw: Any, regions: list[SampledRegions]) -> dict[str, Tensor]:
        """Named scalar losses of `raw`; the same names at every step, attached to the graph also without regions."""
        raise NotImplementedError

    def decode(self, raw: Any, proposals: list[Tensor], image_sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        """Detections of each image from `raw`, whose rows are the `proposals` ``(Ri, 4)`` of the images in turn."""
        raise NotImplementedError
