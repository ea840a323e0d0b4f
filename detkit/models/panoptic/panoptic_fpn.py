"""Panoptic FPN (Kirillov, Girshick, He and Dollár 2019): Mask R-CNN and a semantic head on one pyramid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from detkit.backbones import Backbone
from detkit.heads.context import Candidates, Context
from detkit.heads.dense.rpn import RPNOutput
from detkit.heads.pixel.pixel_head import PixelOutput
from detkit.heads.pixel.stuff import StuffHead
from detkit.models.panoptic.merging import MergeRule
from detkit.models.required_fields import check_fields
from detkit.models.two_stage.mask_rcnn import MaskRCNN
from detkit.necks import Neck
from detkit.structures import Category, Detections, PanopticMap, Target
from detkit.structures.device_transfer import to_device
from detkit.structures.model_categories import ModelCategories


class PanopticOutput(NamedTuple):
    """The raw outputs for a batch.

    Args:
        pyramid: the maps from which regions are cropped.
        proposed: the output of the RPN.
        semantic: the logits of stuff and of all things.
    """

    pyramid: list[Tensor]
    proposed: RPNOutput | None
    semantic: PixelOutput

    @property
    def detector(self) -> tuple[list[Tensor], RPNOutput | None]:
        """Those of Mask R-CNN."""
        return self.pyramid, self.proposed


class _Categories(ModelCategories):
    """Those of the model, whose semantic head learns from them which classes are things."""

    def __set__(self, model: nn.Module, given: Sequence[Category | str] | None) -> None:
        super().__set__(model, given)
        known = self.__get__(model, type(model))
        assert isinstance(model, PanopticFPN)
        model.semantic_head.know_things_(None if known is None else [one.is_thing for one in known])


class PanopticFPN(MaskRCNN):
    """Mask R-CNN with a semantic head on its pyramid; their answers are merged to a class and an instance per pixel.

        images (3, H, W) -> backbone -> FPN: P2 (256, H/4, W/4) to P6 (256, H/64, W/64)
        P2 .. P6 -> rpn -> regions -> box_head, mask_head -> objects -------------+
        P2 .. P5 -> semantic_head -> stuff, and things as one (K + 1, H/4, W/4) --+-> panoptic map (H, W)

    The answer for each image is a `PanopticMap`, which holds the detections and the classes of pixels too. Labels are
    those of the data, things and stuff in one list, and `categories` says which are things: it must be set, as training
    and `detkit.load` do. Objects are learned from boxes and masks, stuff from a ``panoptic_map`` or a ``label_map``. An
    image that lacks one teaches the other. The branches have outputs for labels of stuff too, which no object has, and
    none is detected.

    Args:
        backbone: the backbone, or the name of a torchvision or timm net, as of `FasterRCNN`.
        num_classes: things and stuff.
        semantic_head: called with the channels and strides of the pyramid and `num_classes`.
        merge: which objects and which stuff the panoptic map shows.
        loss_weights: factor of each named loss; None: 0.5 for ``semantic`` as in the paper, section 4.1.
        arguments: as of `MaskRCNN`.
    """

    task = "detkit.tasks.Panoptic"
    categories = _Categories()

    def __init__(
        self,
        backbone: Backbone | str,
        num_classes: int,
        semantic_head: Callable[[list[int], list[int], int], StuffHead] = StuffHead,
        merge: MergeRule | None = None,
        loss_weights: Mapping[str, float] | None = None,
        **arguments: Any,
    ) -> None:
        weights = {"semantic": 0.5} if loss_weights is None else loss_weights
        super().__init__(backbone, num_classes, loss_weights=weights, **arguments)
        levels = self.neck if isinstance(self.neck, Neck) else self.backbone
        self.semantic_head = semantic_head(levels.channels, levels.strides, num_classes)
        self.merge = merge or MergeRule()
        check_fields(self)

    def heads(self, features: list[Tensor], context: Context) -> PanopticOutput:  # type: ignore[override]
        """The pyramid with the RPN's output on it, and the semantic logits."""
        return PanopticOutput(*super().heads(features, context), self.semantic_head(features, context))

    def outputs(self, raw: PanopticOutput) -> Any:  # type: ignore[override]
        """The outputs of the RPN and of the semantic head; those of the branches are checked as they are made."""
        return super().outputs(raw.detector), raw.semantic

    def losses(self, raw: PanopticOutput, context: Context) -> dict[str, Tensor]:  # type: ignore[override]
        """Those of Mask R-CNN, and of the semantic head."""
        return super().losses(raw.detector, context) | self.semantic_head.losses(raw.semantic, context)

    def decode(self, raw: PanopticOutput, context: Context) -> list[PanopticMap]:  # type: ignore[override]
        """The objects and the stuff of each image, merged."""
        return self.merged(super().decode(raw.detector, context), raw.semantic, context)

    def merged(self, detections: Sequence[Detections], semantic: PixelOutput, context: Context) -> list[PanopticMap]:
        """The panoptic maps of a batch.

        Args:
            detections: of each image, with masks, in its own pixels.
            semantic: the output of the semantic head.
            context: of the batch.
        """
        classes = self.semantic_head.decode(semantic, context)
        return self.merge.merged(detections, classes, self.semantic_head.things())

    @torch.no_grad()
    def decode_padded(self, raw: PanopticOutput, context: Context) -> dict[str, Tensor]:  # type: ignore[override]
        """The objects as of Mask R-CNN, and the semantic logits, which are put back before they are merged."""
        return super().decode_padded(raw.detector, context) | {"semantic": raw.semantic.logits}

    def candidates(self, raw: PanopticOutput, context: Context) -> Candidates:  # type: ignore[override]
        """The candidates of the box branch; see `TwoStageDetector.candidates`."""
        return super().candidates(raw.detector, context)

    def assign(self, raw: PanopticOutput, context: Context) -> Tensor:  # type: ignore[override]
        """The object that each of the `candidates` is to predict; see `TwoStageDetector.assign`."""
        return super().assign(raw.detector, context)

    def context(
        self,
        images: Sequence[Tensor],
        targets: Sequence[Target] | None = None,
        given: Sequence[Target] | None = None,
        generator: torch.Generator | None = None,
    ) -> Context:
        """The preprocessed batch; boxes of stuff, which some data has, are no objects."""
        return super().context(images, None if targets is None else self._with_things_alone(targets), given, generator)

    def _with_things_alone(self, targets: Sequence[Target]) -> Sequence[Target]:
        """The targets without boxes of stuff. Labels on the host, as those of data are, make nothing wait."""
        labels = [target.labels for target in targets]
        present = [one for one in labels if one is not None]
        if not present:
            return targets
        is_thing = torch.tensor(self.semantic_head.things())[torch.cat(present).to("cpu")]
        if is_thing.all():
            return targets
        kept = iter(torch.split(is_thing, [len(one) for one in present]))
        rows = [None if own is None else to_device(next(kept).nonzero()[:, 0], own.device) for own in labels]
        return [target if own is None else target[own] for target, own in zip(targets, rows, strict=True)]
