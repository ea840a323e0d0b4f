"""The mask head: the pixels of each detected object (Mask R-CNN, He et al. 2017).

R  regions of a batch     K  classes     M  cells along a side of a mask     N  objects of an image
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.distributed import mean_count
from detkit.geometry import Placement
from detkit.heads.assignment import object_offsets
from detkit.heads.context import Context, Regions
from detkit.heads.region.region_branch import Crop, RegionBranch
from detkit.heads.region.region_features import RegionBatchNorm2d
from detkit.ops import RunLengths, paste_masks, paste_masks_to_rle, rle_to_masks, roi_align
from detkit.structures import Detections, Target

# Ground truth masks are unpacked in parts of at most this many pixels, to limit memory.
_PIXELS_AT_ONCE = 2**24


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
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        self.resolution = resolution
        self.threshold = threshold
        self.run_lengths = run_lengths

    def forward(self, crop: Crop, regions: Regions, so_far: Mapping[str, Any], context: Context) -> Tensor:
        """Mask logits ``(R, K, 2 resolution, 2 resolution)`` of the regions."""
        return self.answer(crop(regions, self.resolution))

    def answer(self, region_features: Tensor) -> Tensor:
        """Mask logits ``(R, K, 2 resolution, 2 resolution)`` of the crops ``(R, C, resolution, resolution)``."""
        logits: Tensor = self.logits(F.relu(self.deconvolution(self.convolutions(region_features))))
        return logits

    def losses(self, raw: Tensor, regions: Regions, so_far: Mapping[str, Any], context: Context) -> dict[str, Tensor]:
        """``mask``: binary cross-entropy of the object's class, mean over the cells of all regions with a mask."""
        targets, placements = context.truth, context.batch.placements
        labels, matched = regions.sampled()
        predicted, cropped = [raw.flatten()[:0]], [raw.flatten()[:0].float()]
        slices, offsets = regions.slices(len(targets)), object_offsets(targets)
        for rows, target, placement, offset in zip(slices, targets, placements, offsets, strict=True):
            if target.masks is None or rows.start == rows.stop:
                continue
            predicted.append(_class_logits(raw[rows], labels[rows]).flatten())
            objects = matched[rows] - offset
            cropped.append(crop_masks(target, regions.boxes[rows], objects, placement, raw.shape[-1]).flatten())
        logits = torch.cat(predicted).float()
        loss = F.binary_cross_entropy_with_logits(logits, torch.cat(cropped), reduction="sum")
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
        logits = torch.split(raw, [len(per_image) for per_image in detections])
        paste = paste_masks_to_rle if self.run_lengths else paste_masks
        results = []
        for image_logits, per_image, size in zip(logits, detections, context.batch.given_sizes, strict=True):
            probabilities = _class_logits(image_logits, per_image.labels).float().sigmoid()
            results.append(replace(per_image, masks=paste(probabilities, per_image.boxes, size, self.threshold)))
        return results


def crop_masks(target: Target, boxes: Tensor, objects: Tensor, placement: Placement, resolution: int) -> Tensor:
    """Mask targets: the mask of each region's object, cropped to the region; 1 where it covers at least half a cell.

    Args:
        target: with masks, in the pixels of the image as it was given.
        boxes: of the regions ``(R, 4)``, in pixels of the network's input.
        objects: ``(R,)`` int64 among ``target.objects()``, the object of each region.
        placement: of the image in the network's input.
        resolution: cells along each side of a region.

    Returns:
        float32 ``(R, resolution, resolution)``, 0 or 1, on the device of the regions.
    """
    object_masks = target.objects().masks
    assert object_masks is not None, "the target has no masks"
    crops = boxes.new_zeros(len(boxes), resolution, resolution)
    boxes = placement.inverse().boxes(boxes)
    objects, index_of_region = torch.unique(objects, return_inverse=True)
    for start, masks in _unpack(object_masks, objects, crops.device):
        rows = torch.where((index_of_region >= start) & (index_of_region < start + len(masks)))[0]
        indices = (index_of_region[rows] - start)[:, None].to(crops.dtype)
        rois = torch.cat((indices, boxes[rows]), dim=1)
        pixels = masks.to(crops.dtype)[:, None]
        crops[rows] = (roi_align(pixels, rois, resolution, 1.0, 0, aligned=True)[:, 0] >= 0.5).to(crops.dtype)
    return crops


def _unpack(masks: Tensor | RunLengths, objects: Tensor, device: torch.device) -> Iterator[tuple[int, Tensor]]:
    """The masks of `objects` as pixels in parts, each with the index in `objects` of its first mask."""
    height, width = masks.shape[1:]
    count = max(1, _PIXELS_AT_ONCE // max(height * width, 1))
    for start in range(0, len(objects), count):
        some = objects[start : start + count]
        yield start, rle_to_masks(masks[some if isinstance(masks, Tensor) else some.cpu()], device)


def _class_logits(logits: Tensor, labels: Tensor) -> Tensor:
    """The logits ``(N, M, M)`` for `labels` ``(N,)`` out of those of every class ``(N, K, M, M)``."""
    return logits[torch.arange(len(labels), device=labels.device), labels]


def _convolution(in_channels: int, out_channels: int, batch_norm: bool) -> nn.Module:
    conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=not batch_norm)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    if batch_norm:
        return nn.Sequential(conv, RegionBatchNorm2d(out_channels), nn.ReLU())
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return nn.Sequential(conv, nn.ReLU())
