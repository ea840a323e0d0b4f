"""The contract of the branches of two-stage detectors, which predict for each region."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

from torch import Tensor, nn

from detkit.heads.class_rows import ClassRows
from detkit.heads.context import Candidates, Context, Regions
from detkit.heads.scored_boxes import PaddedAnswer
from detkit.structures import Detections


class Crop(Protocol):
    """Crops regions from the maps of a batch; crops of the same `Regions` at the same resolution are computed once."""

    def __call__(self, regions: Regions, resolution: int | None = None) -> Tensor:
        """Crops ``(R, C, resolution, resolution)``; None is the resolution that the box branch was built with."""


class RegionBranch(nn.Module):
    """A head that makes a prediction for each region, with its own targets, losses and decoding.

    The **box branch** of a detector classifies and refines the proposed regions. It is built as
    ``branch(in_channels, resolution, num_classes)``: channels of a crop, its height and width in cells, and the number
    of classes without background.

    Any other branch adds to the detected objects: their masks, keypoints or meshes. It is trained on the foreground of
    the sampled regions, and at inference gets the detected boxes (Mask R-CNN, section 3). It is built as
    ``branch(in_channels, num_classes)``. Further arguments come from the config.

    Attributes:
        learns_from: the field or fields of `Target` that it learns from in addition to boxes and labels.
        asks_for: the field or fields of `Target` that it needs with each image also at inference.
    """

    learns_from: str | Collection[str] = frozenset()
    asks_for: str | Collection[str] = frozenset()

    def class_rows(self) -> Mapping[str, ClassRows] | None:
        """The layers whose outputs belong to classes, by their name in this module; none if all serve every class.

        A model for other classes keeps the other outputs, and those of classes of the same name. None where it is not
        known: then parameters of the same shape are taken whole.
        """
        return None

    def forward(self, crop: Crop, regions: Regions, so_far: Mapping[str, Any], context: Context) -> Any:
        """Raw outputs for all regions of the batch, before thresholds.

        Args:
            crop: crops regions from the maps, these or others.
            regions: the box branch gets the proposals, or a sample of them if ``context.targets`` are known; any other
                branch the foreground of this sample, or the detected boxes with their labels.
            so_far: the raw outputs of the branches before this one for the same regions, by name.
            context: of the batch.
        """
        raise NotImplementedError

    def losses(self, raw: Any, regions: Regions, so_far: Mapping[str, Any], context: Context) -> dict[str, Tensor]:
        """Named scalar losses of `raw`: the same names at every step, attached to the graph also without regions.

        An image whose target lacks what this branch learns does not contribute. Arguments as of `forward`.
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
        """`detections` with the predictions of this branch, in pixels of the images as given.

        Args:
            raw: the output of `forward`.
            regions: as of `forward`.
            so_far: as of `forward`.
            detections: those of each image, in the order of `regions`; None for the box branch, which makes them.
            context: of the batch.
        """
        raise NotImplementedError

    def decode_padded(self, raw: Any, regions: Regions, so_far: Mapping[str, Any], context: Context) -> PaddedAnswer:
        """As `decode`, in the network's frame, as tensors of fixed size; the box branch gives `PaddedBoxes`.

        An exported graph contains it: with `detkit.ops.is_exporting`, shapes must not depend on values, and
        ``regions.is_present`` tells which rows are regions.
        """
        raise NotImplementedError

    def candidates(self, raw: Any, regions: Regions, so_far: Mapping[str, Any], context: Context) -> Candidates:
        """All possible detections of the box branch, before thresholds; differentiable. Arguments as of `forward`."""
        raise NotImplementedError

    def assign(self, raw: Any, regions: Regions, so_far: Mapping[str, Any], context: Context) -> Tensor:
        """The object that each of the box branch's `candidates` is to predict ``(N,)``; see `DenseHead.assign`.

        Arguments as of `forward`, but with labeled regions, see `RegionSampler.labeled`.
        """
        raise NotImplementedError

    def ideal(self, regions: Regions, so_far: Mapping[str, Any], context: Context) -> Any:
        """What a perfect network would give for labeled `regions`; optional, see `DenseHead.ideal`.

        Args:
            regions: with the object of each, see `RegionSampler.labeled`; negative labels are background.
            so_far: as of `forward`.
            context: with targets.
        """
        raise NotImplementedError


InstanceBranch = RegionBranch
