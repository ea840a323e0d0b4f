"""R-CNN: regions with CNN features (Girshick 2014)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from detkit.backbones import Backbone, Pixels
from detkit.heads import BoxHead, RegionNetwork, RegionTrunk, SVMBoxHead, TwoFullyConnected
from detkit.heads.box import BoxOutput
from detkit.matching import Matcher, RegionSampler
from detkit.models.region_pool import RegionWarp
from detkit.models.two_stage import TwoStageDetector
from detkit.preprocess import OriginalSize, Preprocess
from detkit.proposals import Proposals
from detkit.structures import Detections

# AlexNet's own layers.
AlexNetLayers = partial(TwoFullyConnected, hidden=4096, dropout=0.5)
SVMs = partial(SVMBoxHead, nms_threshold=0.3)

# Two thousand warped regions of each image are too much at once.
_REGIONS_AT_ONCE = 256


class RCNN(TwoStageDetector):
    """Regions from outside, each warped to a square of pixels and sent through the whole network on its own.

        image -> proposals -> warped pixels -> backbone -> fc6, fc7 -> classes, boxes

    Args:
        backbone: the network; the paper's is AlexNet, ``TorchvisionBackbone("alexnet", stages=[5])``.
        num_classes: classes without background.
        proposals: finds regions in an image.
        layers: called with the channels and the cells of the network's last map; makes a region's vector of it.
        box_head: called with a crop's channels, its resolution, the number of classes and ``trunk``. `SVMBoxHead`
            scores by softmax until `detkit.engine.svm.fit_svms` has fitted its linear SVMs; `BoxHead` always does.
        region_pool: warps regions.
        regions_per_image: regions sampled for training, a quarter of them foreground; 64 of each of two images.
        preprocess: normalises and pads.
        loss_weights: factor of each of ``box_cls`` and ``box_reg``; 1 where not named.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        proposals: Proposals,
        layers: Callable[[int, int], RegionTrunk] = AlexNetLayers,
        box_head: Callable[[int, int, int], BoxHead] = SVMs,
        region_pool: RegionWarp | None = None,
        regions_per_image: int = 64,
        preprocess: Preprocess | None = None,
        loss_weights: Mapping[str, float] | None = None,
    ) -> None:
        region_pool = region_pool or RegionWarp()
        network = partial(RegionNetwork, backbone=backbone, layers=layers)
        super().__init__(
            num_classes=num_classes,
            preprocess=preprocess or OriginalSize(),
            backbone=Pixels(),
            neck=None,
            rpn=None,
            proposals=proposals,
            region_sampler=RegionSampler(Matcher(0.5, 0.5), regions_per_image),
            region_pool=region_pool,
            box_head=box_head(3, region_pool.resolution, num_classes, trunk=network),
            loss_weights=loss_weights,
        )

    def region_vectors(self, features: list[Tensor], regions: Sequence[Tensor]) -> Iterator[Tensor]:
        """The vectors of all `regions` ``(Ri, 4)`` of each image, some ``(r, D)`` at a time."""
        for image, boxes in enumerate(regions):
            pixels = [features[0][image : image + 1]]
            for part in boxes.split(_REGIONS_AT_ONCE):
                yield self.box_head.trunk(self._crop(pixels, [part]))

    def _detected(
        self, features: list[Tensor], proposals: list[Tensor], image_sizes: Sequence[tuple[int, int]]
    ) -> list[Detections]:
        raw = [self.box_head.answer(vectors) for vectors in self.region_vectors(features, proposals)]
        return self.box_head.decode(BoxOutput(*map(torch.cat, zip(*raw, strict=True))), proposals, image_sizes)
