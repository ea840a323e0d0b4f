"""R-CNN: regions with CNN features (Girshick 2014)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from torch import Tensor

from detkit.backbones import Backbone, Pixels, as_backbone
from detkit.heads import (
    NMS,
    BoxHead,
    RegionFeatureExtractor,
    RegionNetwork,
    Regions,
    RegionSampler,
    SVMBoxHead,
    TwoFullyConnected,
)
from detkit.matching import Matcher
from detkit.models.two_stage.region_pool import RegionWarp
from detkit.models.two_stage.two_stage_detector import TwoStageDetector
from detkit.preprocess import OriginalSize, Preprocess
from detkit.proposals import Proposals

# The fully connected layers of AlexNet.
AlexNetLayers = partial(TwoFullyConnected, hidden=4096, dropout=0.5)
SVMs = partial(SVMBoxHead, postprocess=NMS(iou_threshold=0.3))


class RCNN(TwoStageDetector):
    """External proposals, each warped to a square of pixels and classified by a whole network (figure 1).

        image -> proposals -> warped pixels -> backbone -> fc6, fc7 -> classes, boxes

    Args:
        backbone: the network, or the name of a torchvision or timm net, whose stage 5 is used; the paper's is AlexNet,
            ``TorchvisionBackbone("alexnet", stages=[5])``.
        num_classes: classes without background.
        proposals: proposes regions of an image; without it they must be given with each image:
            ``model(images, given=[Target(proposals=boxes), ...])``.
        layers: called with the channels and the resolution of the network's last map; makes a region's vector of it.
        box_head: called with a crop's channels, its resolution, the number of classes and ``trunk``. `SVMBoxHead`
            scores by softmax until `detkit.engine.svm.fit_svms` has fitted its linear SVMs; `BoxHead` always does.
        region_pool: warps regions to squares of pixels.
        regions_per_image: regions sampled for training, at most a quarter of them foreground; 64 of each of two images
            in the paper.
        preprocess: normalizes and pads.
        loss_weights: factor of each of ``box_cls`` and ``box_reg``; 1 where not named.
    """

    def __init__(
        self,
        backbone: Backbone | str,
        num_classes: int,
        proposals: Proposals | None = None,
        layers: Callable[[int, int], RegionFeatureExtractor] = AlexNetLayers,
        box_head: Callable[[int, int, int], BoxHead] = SVMs,
        region_pool: RegionWarp | None = None,
        regions_per_image: int = 64,
        preprocess: Preprocess | None = None,
        loss_weights: Mapping[str, float] | None = None,
    ) -> None:
        backbone = as_backbone(backbone, [5])
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
            # A Callable type can name no keyword, and its positional arguments tell jsonargparse what is filled in.
            box_head=box_head(3, region_pool.resolution, num_classes, trunk=network),  # type: ignore[call-arg]
            loss_weights=loss_weights,
        )

    def region_vectors(self, features: list[Tensor], regions: Regions) -> Tensor:
        """The vectors ``(R, D)`` of `regions`."""
        # nn.Module gives its parts as Tensor | Module; the constructor sets this one.
        extractor: RegionFeatureExtractor = self.box_head.trunk  # type: ignore[assignment]
        return extractor.vectors(self.crops(features), regions)
