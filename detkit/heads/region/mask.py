"""The mask head: the pixels of each detected object (Mask R-CNN, He et al. 2017).

R  regions of a batch     K  classes     M  cells along a side of a mask     N  detections
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.distributed import mean_count
from detkit.heads.assignment import CERTAIN
from detkit.heads.class_rows import ClassRows
from detkit.heads.context import Context, Regions
from detkit.heads.region.mask_targets import crop_batch_masks
from detkit.heads.region.region_branch import Crop, RegionBranch
from detkit.heads.region.region_features import RegionBatchNorm2d
from detkit.ops import RunLengths, batched_paste_masks, batched_paste_masks_to_rle
from detkit.structures import Detections
from detkit.structures.device_transfer import to_device

Paste = Callable[..., Sequence[Tensor | RunLengths]]


class MaskHead(RegionBranch):
    """Convolutions on a crop, a deconvolution, and a mask for each class (Mask R-CNN, figure 4, right).

        (R, C, 14, 14) -> 4 x [3x3 conv, ReLU] -> 2x2 deconv, ReLU -> (R, 256, 28, 28) -> 1x1 conv -> (R, K, 28, 28)

    Classes do not compete: each has its own sigmoid, and only that of the object's class is learned.

    Args:
        in_channels: channels of a crop.
        num_classes: classes without background.
        channels: channels of the hidden layers.
        convolutions: 3x3 convolutions before the deconvolution.
        batch_norm: use batch norm after each of these.
        resolution: height and width of a crop in cells; a mask has twice as many.
        threshold: a pixel belongs to the object if its probability is greater.
        run_lengths: give ``Detections.masks`` as `RunLengths`, which need much less memory than pixels.
    """

    learns_from = "masks"

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        channels: int = 256,
        convolutions: int = 4,
        batch_norm: bool = False,
        resolution: int = 14,
        threshold: float = 0.5,
        run_lengths: bool = False,
    ) -> None:
        super().__init__()
        widths = [in_channels] + [channels] * convolutions
        self.convolutions = nn.Sequential(
            *(_convolution(before, after, batch_norm) for before, after in pairwise(widths))
        )
        self.deconvolution = nn.ConvTranspose2d(widths[-1], channels, kernel_size=2, stride=2)
        self.logits = nn.Conv2d(channels, num_classes, 1)
        for layer in (self.deconvolution, self.logits):
            _init_kaiming_(layer)
        self.resolution = resolution
        self.threshold = threshold
        self.run_lengths = run_lengths

    def class_rows(self) -> Mapping[str, ClassRows]:
        """The mask of each class."""
        return {"logits": ClassRows(_init_kaiming_)}

    def forward(self, crop: Crop, regions: Regions, so_far: Mapping[str, Any], context: Context) -> Tensor:
        """Mask logits ``(R, K, 2 resolution, 2 resolution)`` of the regions."""
        return self.answer(crop(regions, self.resolution))

    def answer(self, region_features: Tensor) -> Tensor:
        """Mask logits ``(R, K, 2 resolution, 2 resolution)`` of the crops ``(R, C, resolution, resolution)``."""
        logits: Tensor = self.logits(F.relu(self.deconvolution(self.convolutions(region_features))))
        return logits

    def losses(self, raw: Tensor, regions: Regions, so_far: Mapping[str, Any], context: Context) -> dict[str, Tensor]:
        """``mask``: binary cross-entropy of the object's class, mean over the cells of all regions with a mask."""
        labels, matched = regions.sampled()
        logits, boxes = _class_logits(raw, labels).float(), regions.boxes
        counts = np.array([span.stop - span.start for span in regions.slices(len(context.truth))])
        has_masks = np.array([target.masks is not None for target in context.truth])
        if not has_masks.all():
            rows = to_device(torch.from_numpy(np.flatnonzero(has_masks.repeat(counts))), raw.device)
            logits, boxes, matched = logits[rows], boxes[rows], matched[rows]
        counts = (counts * has_masks).tolist()
        masks = crop_batch_masks(context.truth, boxes, matched, counts, context.batch.placements, raw.shape[-1])
        loss = F.binary_cross_entropy_with_logits(logits, masks, reduction="sum")
        return {"mask": loss / mean_count(logits.numel(), logits.device) + 0 * raw.float().sum()}

    def decode(
        self,
        raw: Tensor,
        regions: Regions,
        so_far: Mapping[str, Any],
        detections: list[Detections] | None,
        context: Context,
    ) -> list[Detections]:
        """The mask of each object's class, pasted into the image (Mask R-CNN, section 3.1, "Inference")."""
        assert detections is not None, "masks are predicted for detections"
        counts = [len(per_image) for per_image in detections]
        labels, boxes = (torch.cat([getattr(one, name) for one in detections]) for name in ("labels", "boxes"))
        probabilities = _class_logits(raw, labels).float().sigmoid()
        paste: Paste = batched_paste_masks_to_rle if self.run_lengths else batched_paste_masks
        masks = paste(probabilities, boxes, counts, context.batch.given_sizes, self.threshold)
        return [replace(one, masks=own) for one, own in zip(detections, masks, strict=True)]

    def decode_padded(self, raw: Tensor, regions: Regions, so_far: Mapping[str, Any], context: Context) -> PaddedMasks:
        """The probabilities of each object's class in the cells of its box, before they are pasted."""
        assert regions.labels is not None, "masks are predicted for detections"
        probabilities = _class_logits(raw, regions.labels).float().sigmoid()
        return PaddedMasks(regions.rows_of_images(probabilities))

    @torch.no_grad()
    def ideal(self, regions: Regions, so_far: Mapping[str, Any], context: Context) -> Tensor:
        """The mask of each region's object in the cells of the region; see `DenseHead.ideal`."""
        labels, _ = regions.sampled()
        side, classes = 2 * self.resolution, self.logits.out_channels
        has_masks = torch.tensor([target.masks is not None for target in context.truth], device=labels.device)
        own = torch.where((labels >= 0) & has_masks[regions.image_index])[0]
        part = regions[own]
        counts = [span.stop - span.start for span in part.slices(len(context.truth))]
        own_labels, matched = part.sampled()
        masks = crop_batch_masks(context.truth, part.boxes, matched, counts, context.batch.placements, side)
        logits = regions.boxes.new_full((len(regions), classes, side, side), -CERTAIN)
        logits[own, own_labels] = torch.where(masks > 0, CERTAIN, -CERTAIN)
        return logits


class PaddedMasks(NamedTuple):
    """The masks of a batch.

    Args:
        probabilities: in the box of each detection ``(B, N, M, M)``, 0 where there is none.
    """

    probabilities: Tensor

    def outputs(self) -> dict[str, Tensor]:
        """The tensor by its name in an exported graph."""
        return {"masks": self.probabilities}


def _class_logits(logits: Tensor, labels: Tensor) -> Tensor:
    """The logits ``(N, M, M)`` for `labels` ``(N,)`` out of those of every class ``(N, K, M, M)``."""
    return logits[torch.arange(labels.shape[0], device=labels.device), labels]


def _convolution(in_channels: int, out_channels: int, batch_norm: bool) -> nn.Module:
    conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=not batch_norm)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    if batch_norm:
        return nn.Sequential(conv, RegionBatchNorm2d(out_channels), nn.ReLU())
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return nn.Sequential(conv, nn.ReLU())


def _init_kaiming_(layer: nn.Conv2d | nn.ConvTranspose2d) -> None:
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
