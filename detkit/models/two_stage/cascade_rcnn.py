"""Cascade R-CNN (Cai & Vasconcelos 2018)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from detkit.backbones import Backbone
from detkit.heads import BoxCascade, BoxHead, RegionSampler
from detkit.matching import Matcher
from detkit.models.two_stage.faster_rcnn import FasterRCNN

ClassAgnosticBoxHead = partial(BoxHead, class_agnostic=True)


class CascadeRCNN(FasterRCNN):
    """Faster R-CNN with a chain of box heads, each trained at a higher IoU on the boxes of the one before.

        proposals -> head 1 (IoU 0.5) -> boxes -> head 2 (0.6) -> boxes -> head 3 (0.7) -> boxes

    Args:
        backbone: the backbone, or the name of a torchvision or timm net, as of `FasterRCNN`.
        num_classes: classes without background.
        box_head: called once for each stage with a crop's channels, its resolution and the number of classes.
        stage_ious: least IoU of a foreground region, for each stage.
        stage_weights: factor of the losses, for each stage.
        regions_per_image: regions sampled for training in each stage, at most a quarter of them foreground.
        loss_weights: factor of each named loss; the stages' are ``box_cls_1``, ``box_reg_1``, ``box_cls_2`` ...
        arguments: as of `FasterRCNN`.
    """

    def __init__(
        self,
        backbone: Backbone | str,
        num_classes: int,
        box_head: Callable[[int, int, int], BoxHead] = ClassAgnosticBoxHead,
        stage_ious: Sequence[float] = (0.5, 0.6, 0.7),
        stage_weights: Sequence[float] = (1.0, 0.5, 0.25),
        regions_per_image: int = 512,
        loss_weights: Mapping[str, float] | None = None,
        **arguments: Any,
    ) -> None:
        names = ("box_cls", "box_reg")
        weights = {f"{name}_{stage}": weight for stage, weight in enumerate(stage_weights, 1) for name in names}
        sampler = RegionSampler(count=regions_per_image)
        super().__init__(
            backbone,
            num_classes,
            box_head=partial(BoxCascade, box_head=box_head, ious=stage_ious, region_sampler=sampler),
            region_matcher=Matcher(stage_ious[0], stage_ious[0]),
            regions_per_image=regions_per_image,
            loss_weights=weights | dict(loss_weights or {}),
            **arguments,
        )
