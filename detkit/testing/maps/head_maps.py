"""The contract of a pixel head's label maps, as a check: their size and classes, what is ignored, the round trip."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from detkit.heads import Context, PixelHead
from detkit.heads.pixel.pixel_head import PixelOutput
from detkit.structures import SemanticMap, Target
from detkit.structures.image_fields import IGNORE_INDEX, label_map_dtype
from detkit.testing.batches import Batches
from detkit.testing.contract import deep_copy, no_error, require
from detkit.testing.head_callers import without_targets

_RECOVERED = 0.9  # share of the pixels of two halves that ideal logits give back; the rest is at their border
_BLUR = 2  # cells that the logits of a pixel are interpolated from


def check_label_maps(head: nn.Module, batches: Batches, num_classes: int, owner: str) -> None:
    """Hold a `PixelHead` to what is of label maps alone; other heads are left out. See `check_head`."""
    if not isinstance(head, PixelHead):
        return
    head = deep_copy(head, owner).eval()
    halves = [_halves(batches, image, num_classes) for image in range(2)]
    context = batches.context(halves)
    with torch.no_grad(), no_error(f"{owner}.decode", "it takes what forward gives without targets"):
        answers = head.decode(head(batches.features(), without_targets(context)), without_targets(context))
    for image, answer in enumerate(answers):
        _check_answer(answer, image, batches, num_classes, owner)
    _check_ignored(head, batches, halves, owner)
    _check_round_trip(head, batches, context, halves, owner)


def _halves(batches: Batches, image: int, num_classes: int) -> Target:
    """A target whose left half has one class and whose right half another."""
    height, width = batches.given_size
    label_map = torch.full((height, width), image % num_classes, dtype=label_map_dtype(num_classes))
    label_map[:, width // 2 :] = (image + 1) % num_classes
    return replace(batches.targets("objects")[image], label_map=label_map)


def _check_answer(answer: Any, image: int, batches: Batches, num_classes: int, owner: str) -> None:
    where = f"{owner}.decode, image {image}"
    got = type(answer).__name__
    require(isinstance(answer, SemanticMap), f"{where}: a pixel head answers with a SemanticMap, got a {got}")
    label_map = answer.label_map
    require(
        tuple(label_map.shape) == batches.given_size,
        f"{where}: the label map must have the {batches.given_size} pixels of the image as given, got "
        f"{tuple(label_map.shape)}; end with context.batch.restore_maps",
    )
    dtype = label_map_dtype(num_classes)
    require(label_map.dtype == dtype, f"{where}: the label map must be {dtype}, got {label_map.dtype}")
    known = label_map[label_map != IGNORE_INDEX[dtype]]
    require(
        bool(((known >= 0) & (known < num_classes)).all()),
        f"{where}: classes must lie in 0..{num_classes - 1}, got {sorted(set(known.tolist()))[:8]}",
    )


def _check_ignored(head: PixelHead, batches: Batches, halves: list[Target], owner: str) -> None:
    """Pixels without a class have no gradient, but for the logits that they share with others."""
    width = batches.given_size[1]
    targets = []
    for target in halves:
        assert target.label_map is not None
        label_map = target.label_map.clone()
        label_map[:, width // 2 :] = IGNORE_INDEX[label_map.dtype]
        targets.append(replace(target, label_map=label_map))
    context = batches.context(targets)
    with no_error(f"{owner}.losses of label maps with ignored pixels"):
        raw: PixelOutput = head(batches.features(), context)
        raw.logits.retain_grad()
        losses = head.losses(raw, context)
    torch.autograd.backward(list(losses.values()))
    gradient: Tensor | None = raw.logits.grad
    require(gradient is not None and bool(gradient.any()), f"{owner}.losses: no gradient reaches the logits of raw")
    assert gradient is not None
    ignored = gradient[..., gradient.shape[-1] // 2 + _BLUR :]
    require(
        not bool(ignored.any()),
        f"{owner}.losses: pixels without a class (255, or -1 with int16) have a gradient: take labels from "
        "batch_label_maps, and leave out those that are IGNORED",
    )


@torch.no_grad()
def _check_round_trip(head: PixelHead, batches: Batches, context: Context, halves: list[Target], owner: str) -> None:
    """The logits of a perfect network are decoded to the label maps that they are made of."""
    with no_error(f"{owner}.ideal", "it takes what forward gives, and gives the same"):
        raw = head(batches.features(), without_targets(context))
        answers = head.decode(head.ideal(raw, context), without_targets(context))
    for image, (answer, target) in enumerate(zip(answers, halves, strict=True)):
        assert target.label_map is not None
        seen = answer.label_map != IGNORE_INDEX[answer.label_map.dtype]
        share = answer.label_map[seen].eq(target.label_map[seen]).float().mean()
        require(
            bool(share >= _RECOVERED),
            f"{owner}.ideal, decoded, gives back {share:.0%} of the pixels of image {image}, whose halves have a class "
            "each: decode must put logits back by context.batch.restore_maps, with the margin of raw",
        )
