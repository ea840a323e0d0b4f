"""Callers of the kinds of head: dense heads, heads of whole images and of pixels, and branches on regions."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from detkit.heads import (
    Candidates,
    Context,
    DenseHead,
    ImageHead,
    PixelHead,
    RegionBranch,
    Regions,
    RegionSampler,
)
from detkit.models.two_stage.region_pool import Crops, RegionAlign
from detkit.structures import Detections

_PROPOSALS = 24  # of each image
_SAMPLED = 16
_OBJECTS = 3


class Raw(NamedTuple):
    """The raw outputs of a head for a batch, with what it was called with.

    Args:
        output: of its `forward`.
        regions: which a branch was called with; None for other heads.
        detections: which an instance branch adds to.
        so_far: the outputs of the branches before it.
    """

    output: Any
    regions: Regions | None = None
    detections: list[Detections] | None = None
    so_far: Mapping[str, Any] = MappingProxyType({})


class Caller(Protocol):
    """Calls the verbs of one kind of head."""

    finds_objects: bool
    """Whether `decode` gives answers of its own, and not what it adds to those of others."""

    objects: int
    """How many objects of an image the check lets it learn to find."""

    def forward(self, head: Any, features: list[Tensor], context: Context) -> Raw:
        """The raw outputs; those for losses where the context has targets."""

    def losses(self, head: Any, raw: Raw, context: Context) -> Any:
        """The losses."""

    def decode(self, head: Any, raw: Raw, context: Context) -> Any:
        """The answers."""

    def candidates(self, head: Any, raw: Raw, context: Context) -> Candidates:
        """The candidates."""

    def assign(self, head: Any, raw: Raw, context: Context) -> Tensor:
        """The object of each candidate."""


class WholeCaller:
    """Dense heads, which get all maps, and heads of whole images, which get the last."""

    finds_objects = True

    def __init__(self, last_map_alone: bool) -> None:
        self.last_map_alone, self.objects = last_map_alone, 1 if last_map_alone else _OBJECTS

    def forward(self, head: Any, features: list[Tensor], context: Context) -> Raw:
        return Raw(head(features[-1] if self.last_map_alone else list(features), context))

    def losses(self, head: Any, raw: Raw, context: Context) -> Any:
        return head.losses(raw.output, context)

    def decode(self, head: Any, raw: Raw, context: Context) -> Any:
        return head.decode(raw.output, context)

    def candidates(self, head: Any, raw: Raw, context: Context) -> Candidates:
        candidates: Candidates = head.candidates(raw.output, context)
        return candidates

    def assign(self, head: Any, raw: Raw, context: Context) -> Tensor:
        rows: Tensor = head.assign(raw.output, context)
        return rows


class PixelCaller(WholeCaller):
    """Heads of pixels, which get all maps and have no candidates."""

    finds_objects = False

    def __init__(self) -> None:
        super().__init__(last_map_alone=False)

    def candidates(self, head: Any, raw: Raw, context: Context) -> Candidates:
        raise NotImplementedError

    def assign(self, head: Any, raw: Raw, context: Context) -> Tensor:
        raise NotImplementedError


class BranchCaller:
    """Branches on regions: the box branch, which classifies proposals, or one that adds to given detections.

    Args:
        strides: of the maps that are cropped.
        resolution: of a crop, where the branch does not say.
        num_classes: classes of the detections that are added to.
        box: whether it is the box branch.
        before: branches whose outputs it reads, by name.
    """

    objects = _OBJECTS

    def __init__(
        self,
        strides: Sequence[float],
        resolution: int,
        num_classes: int,
        box: bool,
        before: Mapping[str, RegionBranch] | None = None,
    ) -> None:
        self.before = dict(before or {})
        self.strides, self.num_classes, self.finds_objects = [int(one) for one in strides], num_classes, box
        self.pool = RegionAlign(resolution)
        self.sampler = RegionSampler(count=_SAMPLED)

    def forward(self, head: Any, features: list[Tensor], context: Context) -> Raw:
        crop = Crops(self.pool, features, self.strides)
        detections = None
        if context.targets is not None:
            regions = self.sampler(_proposals(context), context)
            regions = regions if self.finds_objects else regions.foreground()
        elif self.finds_objects:
            regions = _proposals(context)
        else:
            detections = _detections(context, self.num_classes)
            boxes = [
                placement.boxes(one.boxes) for placement, one in zip(context.batch.placements, detections, strict=True)
            ]
            regions = Regions.of_images(boxes, [one.labels for one in detections])
        so_far: dict[str, Any] = {}
        with torch.no_grad():
            for name, branch in self.before.items():
                there = copy.deepcopy(branch).to(features[0].device).eval()
                so_far = so_far | {name: there(crop, regions, so_far, context)}
        # Of other crops: those that were computed here have no graph.
        crop = Crops(self.pool, features, self.strides)
        return Raw(head(crop, regions, so_far, context), regions, detections, so_far)

    def losses(self, head: Any, raw: Raw, context: Context) -> Any:
        return head.losses(raw.output, raw.regions, raw.so_far, context)

    def decode(self, head: Any, raw: Raw, context: Context) -> Any:
        return head.decode(raw.output, raw.regions, raw.so_far, raw.detections, context)

    def candidates(self, head: Any, raw: Raw, context: Context) -> Candidates:
        candidates: Candidates = head.candidates(raw.output, raw.regions, {}, context)
        return candidates

    def assign(self, head: Any, raw: Raw, context: Context) -> Tensor:
        assert raw.regions is not None
        rows: Tensor = head.assign(raw.output, self.sampler.labeled(raw.regions, context), {}, context)
        return rows


def caller_of(
    head: nn.Module,
    strides: Sequence[float],
    resolution: int,
    num_classes: int,
    box: bool | None,
    before: Mapping[str, RegionBranch] | None = None,
) -> Caller | None:
    """The caller of `head`; None where it is of no kind.

    Args:
        head: to be called.
        strides: of the maps.
        resolution: of a crop.
        num_classes: of the objects.
        box: of a branch whether it is the box branch; None: it is where it has candidates of its own.
        before: of a branch those whose outputs it reads, by name.
    """
    if isinstance(head, RegionBranch):
        if box is None:
            box = type(head).candidates is not RegionBranch.candidates
        return BranchCaller(strides, resolution, num_classes, box, before)
    if isinstance(head, PixelHead):
        return PixelCaller()
    if isinstance(head, (DenseHead, ImageHead)):
        return WholeCaller(last_map_alone=isinstance(head, ImageHead))
    return None


def object_rows(context: Context) -> list[range]:
    """Of each image the rows of its objects among those of the batch."""
    targets = context.truth
    counts = [0 if target.boxes is None else len(target.objects()) for target in targets]
    return [range(end - count, end) for end, count in zip(accumulate(counts), counts, strict=True)]


def without_targets(context: Context) -> Context:
    """The same batch, as for detection."""
    return replace(context, targets=None)


def _proposals(context: Context) -> Regions:
    """Regions of both images, always the same: many at random, and those that came with the images."""
    height, width = context.batch.padded_size
    generator = torch.Generator().manual_seed(5)
    limits = torch.tensor([width, height])
    boxes = []
    for image in range(len(context.batch.sizes)):
        sides = (0.2 + 0.4 * torch.rand(_PROPOSALS, 2, generator=generator)) * limits
        corners = torch.rand(_PROPOSALS, 2, generator=generator) * (limits - sides)
        proposals = None if context.given is None else context.given[image].proposals
        drawn = torch.cat((corners, corners + sides), dim=1).to(context.batch.images.device)
        boxes.append(torch.cat((drawn, *([] if proposals is None else [proposals]))))
    return Regions.of_images(boxes)


def _detections(context: Context, num_classes: int) -> list[Detections]:
    """Detections to add to, in pixels of the images as given: none in the second image."""
    assert context.given is not None
    assert context.given[0].boxes is not None
    boxes = context.batch.placements[0].inverse().boxes(context.given[0].boxes)
    scores = torch.linspace(0.9, 0.3, len(boxes), device=boxes.device)
    some = Detections(boxes, scores, torch.arange(len(boxes), device=boxes.device) % num_classes)
    return [some, Detections.empty().to(boxes.device)]
