"""What every branch of a two-stage detector promises."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from detkit.geometry import Placement
from detkit.matching import SampledRegions
from detkit.structures import Detections, Target


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


class InstanceBranch(nn.Module):
    """A head that adds to what is known of an object already found: its mask, its keypoints, its mesh.

    It is trained on the foreground regions, and at test looks at the detected boxes (Mask R-CNN, section 3). A
    detector builds it as ``branch(in_channels, num_classes)``. Further arguments come from the config.

    Attributes:
        resolution: height and width in cells of the crops that it wants.
        learns_from: the field of `Target` that it learns from.
    """

    resolution: int
    learns_from: str

    def forward(self, region_features: Tensor) -> Any:
        """Raw outputs for the crops ``(R, C, resolution, resolution)`` of all images of the batch; no thresholds."""
        raise NotImplementedError

    def losses(
        self,
        raw: Any,
        regions: list[SampledRegions],
        targets: list[Target],
        placements: Sequence[Placement],
    ) -> dict[str, Tensor]:
        """Named scalar losses; the same names at every step, attached to the graph also without regions.

        An image whose target lacks what this branch learns contributes nothing.

        Args:
            raw: what `forward` says of the `regions` of the images in turn.
            regions: foreground regions of each image, in pixels of the network's input.
            targets: ground truth of each image; boxes and keypoints in pixels of the network's input, masks as given.
            placements: of each image in the network's input.
        """
        raise NotImplementedError

    def decode(
        self,
        raw: Any,
        regions: list[Tensor],
        detections: list[Detections],
        placements: Sequence[Placement],
    ) -> list[Detections]:
        """`detections`, with what this branch adds.

        Args:
            raw: what `forward` says of the `regions` of the images in turn.
            regions: the detected boxes ``(Ri, 4)`` of each image, in pixels of the network's input.
            detections: the same objects, in pixels of the image as it was given.
            placements: of each image in the network's input.
        """
        raise NotImplementedError
