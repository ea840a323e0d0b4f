"""Fast R-CNN (Girshick 2015)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from detkit.backbones import Backbone, as_backbone
from detkit.heads import NMS, BoxHead, RegionBranch, RegionSampler, TwoFullyConnected
from detkit.matching import Matcher
from detkit.models.two_stage.region_pool import RegionMaxPool, RegionPool
from detkit.models.two_stage.two_stage_detector import TwoStageDetector
from detkit.necks import Neck
from detkit.preprocess import Preprocess, ShortestEdge
from detkit.proposals import Proposals

# The fully connected layers of VGG-16.
VGGBoxHead = partial(
    BoxHead, trunk=partial(TwoFullyConnected, hidden=4096, dropout=0.5), postprocess=NMS(iou_threshold=0.3)
)


class FastRCNN(TwoStageDetector):
    """External proposals, one pass of the backbone over the image, RoIPool, two fully connected layers (figure 1).

    Args:
        backbone: the backbone, or the name of a torchvision or timm net, whose stage 4 is used; the paper's is VGG-16
            up to conv5_3, ``TorchvisionBackbone("vgg16", stages=[4])``.
        num_classes: classes without background.
        proposals: proposes regions of an image; without it they must be given with each image:
            ``model(images, given=[Target(proposals=boxes), ...])``.
        neck: called with the backbone's channels and strides; None uses the backbone's own map.
        box_head: called with a crop's channels, its resolution and the number of classes.
        branches: further branches, by name, each called with a crop's channels and the number of classes.
        region_pool: crops regions from the map.
        regions_per_image: regions sampled for training, at most a quarter of them foreground; 64 of each of two images
            in the paper.
        preprocess: resizes, normalizes and pads.
        loss_weights: factor of each of ``box_cls`` and ``box_reg``; 1 where not named.
    """

    def __init__(
        self,
        backbone: Backbone | str,
        num_classes: int,
        proposals: Proposals | None = None,
        neck: Callable[[list[int], list[int]], Neck] | None = None,
        box_head: Callable[[int, int, int], RegionBranch] = VGGBoxHead,
        branches: Mapping[str, Callable[[int, int], RegionBranch]] | None = None,
        region_pool: RegionPool | None = None,
        regions_per_image: int = 64,
        preprocess: Preprocess | None = None,
        loss_weights: Mapping[str, float] | None = None,
    ) -> None:
        backbone = as_backbone(backbone, [4])
        pyramid = neck(backbone.channels, backbone.strides) if neck is not None else None
        region_pool = region_pool or RegionMaxPool()
        channels = region_pool.out_channels((pyramid or backbone).channels[0])
        super().__init__(
            num_classes=num_classes,
            preprocess=preprocess or ShortestEdge(min_size=600, max_size=1000),
            backbone=backbone,
            neck=pyramid,
            rpn=None,
            proposals=proposals,
            region_sampler=RegionSampler(Matcher(0.5, 0.5, least_background_iou=0.1), regions_per_image),
            region_pool=region_pool,
            box_head=box_head(channels, region_pool.resolution, num_classes),
            branches={name: branch(channels, num_classes) for name, branch in (branches or {}).items()},
            loss_weights=loss_weights,
        )
