"""Region pooling: crops of fixed size from a pyramid, from one map, before a last stage of the backbone, or of pixels.

R  regions of a batch     C  channels
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal
from weakref import WeakKeyDictionary

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.backbones.frozen_batch_norm import freeze_batch_norm
from detkit.backbones.pretrained import load_matching, read_state_dict
from detkit.backbones.torchvision_backbone import create_net, move_strides_to_1x1, published_net
from detkit.backbones.weights_sources import classifier_source
from detkit.errors import InputError
from detkit.heads import Regions
from detkit.object_config import Described
from detkit.ops import multilevel_roi_align, roi_align, roi_pool


class RegionPool(Described, nn.Module):
    """Crops of all regions of a batch, each of the same size.

    Attributes:
        resolution: height and width of a crop in cells.
    """

    resolution: int

    def out_channels(self, in_channels: int) -> int:
        """Channels of a crop from maps of `in_channels`."""
        return in_channels

    def forward(
        self,
        features: Sequence[Tensor],
        strides: Sequence[int],
        regions: Regions,
        resolution: int | None = None,
    ) -> Tensor:
        """Crops ``(R, C, resolution, resolution)`` of the `regions` of all images.

        Args:
            features: maps ``(B, C, Hi, Wi)``, finest first.
            strides: of the maps.
            regions: of the batch.
            resolution: instead of the pool's own.
        """
        return self.crop(features, strides, regions, resolution or self.resolution)

    def crop(self, features: Sequence[Tensor], strides: Sequence[int], regions: Regions, resolution: int) -> Tensor:
        """The crops of `forward` at this resolution; implemented by subclasses."""
        raise NotImplementedError


class RegionAlign(RegionPool):
    """RoIAlign on the pyramid level that matches each region's size (Mask R-CNN, section 3; FPN, eq. 1).

    Args:
        resolution: height and width of a crop in cells.
        sampling_ratio: bilinear samples per cell and axis; 0 adapts to the size of the region, one per cell of the map.
        aligned: shift by half a pixel for exact alignment. Weights published by torchvision were trained without.
        canonical_size: side in pixels of a region that is cropped from level 4 (stride 16); 224 as in ImageNet
            training is 14 cells of that level.
    """

    def __init__(
        self, resolution: int = 7, sampling_ratio: int = 2, aligned: bool = True, canonical_size: int = 224
    ) -> None:
        super().__init__()
        self.resolution = resolution
        self.sampling_ratio = sampling_ratio
        self.aligned = aligned
        self.canonical_size = canonical_size

    def crop(self, features: Sequence[Tensor], strides: Sequence[int], regions: Regions, resolution: int) -> Tensor:
        """Crops from the level of each region."""
        return multilevel_roi_align(
            list(features),
            _rois(regions),
            resolution,
            [1 / stride for stride in strides],
            self.sampling_ratio,
            aligned=self.aligned,
            canonical_size=self.canonical_size,
        )


class RegionMaxPool(RegionPool):
    """RoIPool on one map: the maximum in each cell (Fast R-CNN, section 2.1).

    Args:
        resolution: height and width of a crop in cells.
    """

    def __init__(self, resolution: int = 7) -> None:
        super().__init__()
        self.resolution = resolution

    def crop(self, features: Sequence[Tensor], strides: Sequence[int], regions: Regions, resolution: int) -> Tensor:
        """Crops from the only map."""
        return roi_pool(_only_map(features, strides), _rois(regions), resolution, 1 / strides[0])


class RegionStage(RegionPool):
    """Crops that go through a later stage of a ResNet, which all branches of a C4 model share (He 2015, appendix A).

    The stage has stride 2: its input crops have twice the resolution.

    Args:
        pool: makes the input crops of the stage.
        name: name of a ResNet of torchvision.
        layer: torchvision's name of the stage, the one after the last of the backbone.
        weights: ``DEFAULT`` for torchvision's best, the path of a weights file of the whole net, or None.
        frozen_batch_norm: use the stored statistics of batch norm and do not train it.
        stride_in_1x1: downsample in the first 1x1 convolution instead of in the 3x3, as of `TorchvisionBackbone`.
    """

    stage: nn.Module

    def __init__(
        self,
        pool: RegionPool,
        name: str = "resnet50",
        layer: Literal["layer3", "layer4"] = "layer4",
        weights: str | None = None,
        frozen_batch_norm: bool = True,
        stride_in_1x1: bool = False,
    ) -> None:
        super().__init__()
        net = published_net(name) if weights == "DEFAULT" else create_net(name)
        if not isinstance(net, torchvision.models.ResNet):
            raise InputError(f"RegionStage takes a stage of a ResNet, not of {name!r}")
        if weights not in (None, "DEFAULT"):
            load_matching(net, read_state_dict(weights), source=str(weights))
        self.weights_source = None if weights is None else classifier_source(name, weights)
        self.pool = pool
        stage = net.get_submodule(layer)
        if stride_in_1x1:
            move_strides_to_1x1(stage)
        channels: int = net.fc.in_features // (1 if layer == "layer4" else 2)
        self._channels = channels
        self.stage = freeze_batch_norm(stage) if frozen_batch_norm else stage
        self.resolution = pool.resolution // 2

    def out_channels(self, in_channels: int) -> int:
        """Channels of the stage."""
        return self._channels

    def crop(self, features: Sequence[Tensor], strides: Sequence[int], regions: Regions, resolution: int) -> Tensor:
        """Crops of the only map, after the stage."""
        crops: Tensor = self.stage(self.pool(features, strides, regions, 2 * resolution))
        return crops


class RegionWarp(RegionPool):
    """The pixels of a region, warped to a square of fixed size (R-CNN, section 2.1 and appendix A).

    The region is enlarged so that the square has `context` pixels of surroundings on each side; outside the image it
    has the mean color.

    Args:
        resolution: height and width of the square in pixels; 227 for AlexNet.
        context: pixels of surroundings on each side.
    """

    def __init__(self, resolution: int = 227, context: int = 16) -> None:
        super().__init__()
        if not 0 <= 2 * context < resolution:
            raise InputError(f"RegionWarp: resolution {resolution} must be more than twice the context of {context}")
        self.resolution = resolution
        self.context = context

    def crop(self, features: Sequence[Tensor], strides: Sequence[int], regions: Regions, resolution: int) -> Tensor:
        """Crops of the normalized images, which are the only map."""
        # The normalized mean color is 0. A border of it makes all sides of the image alike, padded or not.
        pixels = F.pad(_only_map(features, strides), (1, 1, 1, 1))
        widened = _widened(regions.boxes, resolution / (resolution - 2 * self.context)) + strides[0]
        # One sample at the middle of each cell is bilinear resizing.
        return roi_align(pixels, _rois(replace(regions, boxes=widened)), resolution, 1 / strides[0], 1, aligned=True)


class Crops:
    """Crops of the regions of a batch; those of the same `Regions` object at the same resolution are computed once.

    Args:
        pool: makes the crops.
        features: maps ``(B, C, Hi, Wi)``, finest first.
        strides: strides of the maps.
    """

    def __init__(self, pool: RegionPool, features: Sequence[Tensor], strides: Sequence[int]) -> None:
        self.pool, self.features, self.strides = pool, features, strides
        # The cache does not keep regions alive.
        self._cache: WeakKeyDictionary[Regions, dict[int, Tensor]] = WeakKeyDictionary()

    def __call__(self, regions: Regions, resolution: int | None = None) -> Tensor:
        """Crops ``(R, C, resolution, resolution)`` of `regions`; the resolution is the pool's own if not given."""
        resolution = resolution or self.pool.resolution
        cached = self._cache.setdefault(regions, {})
        if resolution not in cached:
            cached[resolution] = self.pool(self.features, self.strides, regions, resolution)
        return cached[resolution]


def _rois(regions: Regions) -> Tensor:
    """``(R, 5)``: the image of each region, then its box."""
    return torch.cat((regions.image_index[:, None].to(regions.boxes.dtype), regions.boxes), dim=1)


def _only_map(features: Sequence[Tensor], strides: Sequence[int]) -> Tensor:
    if len(features) != 1:
        raise InputError(
            f"RegionMaxPool and RegionWarp crop from one map, but there are maps with strides {list(strides)}"
        )
    return features[0]


def _widened(boxes: Tensor, factor: float) -> Tensor:
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    halves = (boxes[:, 2:] - boxes[:, :2]) * (factor / 2)
    return torch.cat((centers - halves, centers + halves), dim=1)
