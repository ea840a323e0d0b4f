"""Faster R-CNN with a feature pyramid (Ren 2015; Lin 2017)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from detkit.backbones import Backbone, as_backbone
from detkit.heads import RPN, BoxHead, RegionBranch, RegionSampler
from detkit.matching import Matcher
from detkit.models.two_stage.region_pool import RegionAlign, RegionPool
from detkit.models.two_stage.two_stage_detector import TwoStageDetector
from detkit.necks import FPN, Neck
from detkit.preprocess import Preprocess, ShortestEdge


class FasterRCNN(TwoStageDetector):
    """A region proposal network, RoIAlign on a pyramid, one box branch.

    Parts are given as callables, which are called with the sizes of their inputs: a class, or
    ``functools.partial(BoxHead, class_agnostic=True)``. In a config they are a ``class_path`` with the other
    ``init_args``.

    Args:
        backbone: the backbone, or the name of a torchvision or timm net, whose stages 2 to 5 are used.
        num_classes: classes without background.
        neck: called with the backbone's channels and strides; null uses the backbone's own maps, as C4 models do.
        rpn: called with the neck's channels and strides.
        box_head: called with a crop's channels, its resolution and the number of classes.
        branches: further branches, by name, such as masks; each called with a crop's channels and the number of
            classes.
        region_pool: crops regions from the pyramid.
        region_matcher: decides which proposals are foreground and background in training; None: those of an IoU of at
            least 0.5 with an object are foreground, the others background.
        regions_per_image: regions sampled for training, at most a quarter of them foreground.
        preprocess: resizes, normalizes and pads.
        loss_weights: factor of each of ``rpn_cls``, ``rpn_box``, ``box_cls``, ``box_reg``; 1 where not named.
    """

    def __init__(
        self,
        backbone: Backbone | str,
        num_classes: int,
        neck: Callable[[list[int], list[int]], Neck] | None = FPN,
        rpn: Callable[[list[int], list[int]], RPN] = RPN,
        box_head: Callable[[int, int, int], RegionBranch] = BoxHead,
        branches: Mapping[str, Callable[[int, int], RegionBranch]] | None = None,
        region_pool: RegionPool | None = None,
        region_matcher: Matcher | None = None,
        regions_per_image: int = 512,
        preprocess: Preprocess | None = None,
        loss_weights: Mapping[str, float] | None = None,
    ) -> None:
        backbone = as_backbone(backbone)
        pyramid = neck(backbone.channels, backbone.strides) if neck is not None else None
        levels = pyramid or backbone
        region_pool = region_pool or RegionAlign()
        channels = region_pool.out_channels(levels.channels[0])
        super().__init__(
            num_classes=num_classes,
            preprocess=preprocess or ShortestEdge(),
            backbone=backbone,
            neck=pyramid,
            rpn=rpn(levels.channels, levels.strides),
            region_sampler=RegionSampler(region_matcher or Matcher(0.5, 0.5), regions_per_image),
            region_pool=region_pool,
            box_head=box_head(channels, region_pool.resolution, num_classes),
            branches={name: branch(channels, num_classes) for name, branch in (branches or {}).items()},
            loss_weights=loss_weights,
        )
