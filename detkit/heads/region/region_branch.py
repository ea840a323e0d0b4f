"""What every branch of a two-stage detector promises."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

from torch import Tensor, nn

from detkit.heads.context import Candidates, Context, Regions
from detkit.structures import Detections


class Crop(Protocol):
    """Cuts regions out of the maps of a batch; of the same `Regions` at the same resolution only once in a step."""

    def __call__(self, regions: Regions, resolution: int | None = None) -> Tensor:
        """Crops ``(R, C, resolution, resolution)``; None is the resolution that the box branch was built with."""


class RegionBranch(nn.Module):
    """A head that answers one question about each region, with a loss of its own.

    The **box branch** of a detector classifies and refines the proposed regions. It is built as
    ``branch(in_channels, resolution, num_classes)``: channels of a crop, its height and width in cells, and the number
    of classes without background.

    Any other branch adds to what is known of an object already found: its mask, its keypoints, its mesh. It is trained
    on the foreground of the sampled regions, and at test looks at the detected boxes (Mask R-CNN, section 3). It is
    built as ``branch(in_channels, num_classes)``. Further arguments come from the config.

    Attributes:
        learns_from: the field of `Target` that it learns from beside boxes and labels, or several.
        asks_for: the field of `Target` that must be given with an image also at inference, or several.
    """

    learns_from: str | Collection[str] = frozenset()
    asks_for: str | Collection[str] = frozenset()

    def forward(self, crop: Crop, regions: Regions, so_far: Mapping[str, Any], context: Context) -> Any:
        """Raw outputs for all regions of the batch; no thresholds.

        Args:
            crop: cuts regions out of the maps, those given or others.
            regions: what is asked about. Of the box branch the proposals, or a sample of them where ``context.targets``
                are known; of any other the foreground of this sample, or the detected boxes with their labels.
            so_far: by name, the raw outputs for the same regions of the branches before this one.
            context: of the batch.
        """
        raise NotImplementedError

    def losses(self, raw: Any, regions: Regions, so_far: Mapping[str, Any], context: Context) -> dict[str, Tensor]:
        """Named scalar losses of `raw`; the same names at every step, attached to the graph also without regions.

        An image whose target lacks what this branch learns contributes nothing. Arguments as of `forward`.
        """
        raise NotImplementedError

    def decode(
        self,
        raw: Any,
        regions: Regions,
        so_far: Mapping[str, Any],
        detections: list[Detections] | None,
        context: Context,
    ) -> list[Detections]:
        """`detections`, with what this branch adds, in pixels of the images as given.

        Args:
            raw: what `forward` says.
            regions: as of `forward`.
            so_far: as of `forward`.
            detections: what is known of the objects in each image, in the order of `regions`; None for the box branch,
                which finds them.
            context: of the batch.
        """
        raise NotImplementedError

    def candidates(self, raw: Any, regions: Regions, so_far: Mapping[str, Any], context: Context) -> Candidates:
        """Of the box branch, all that might be a detection, before any threshold; differentiable. Arguments as of
        `forward`."""
        raise NotImplementedError

    def assign(self, raw: Any, regions: Regions, so_far: Mapping[str, Any], context: Context) -> Tensor:
        """Of the box branch, which object each of the `candidates` is to find ``(N,)``; see `DenseHead.assign`.

        Arguments as of `forward`, but the regions are labeled, see `RegionSampler.labeled`.
        """
        raise NotImplementedError


InstanceBranch = RegionBranch
