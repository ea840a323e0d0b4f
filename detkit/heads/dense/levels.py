"""What heads share that look at all levels of a pyramid with the same weights: RPN, RetinaNet, FCOS."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from detkit.errors import InputError
from detkit.heads.context import Context
from detkit.heads.postprocess import Postprocess, Scored
from detkit.structures import Detections

PRIOR = 0.01  # how likely an object is before anything is learned (Lin 2017, section 4.1)


def shared_channels(head: str, in_channels: Sequence[int], strides: Sequence[int]) -> int:
    """The channels that all levels have.

    Raises:
        InputError: the levels differ in channels, or there are not as many strides; the message begins with `head`.
    """
    if len(set(in_channels)) != 1:
        raise InputError(f"{head} shares one head over all levels, but they have channels {list(in_channels)}")
    if len(in_channels) != len(strides):
        raise InputError(f"{head} got levels with channels {list(in_channels)} but with strides {list(strides)}")
    return in_channels[0]


def tower(channels: int, convolutions: int, group_norm: bool) -> nn.Sequential:
    """3x3 convolutions with ReLU that keep the number of channels; normalized, if so, in 32 groups of 256 channels."""
    groups = math.gcd(channels, channels // 8 or 1, 32)  # of 8 channels or more: there is no norm of a single number
    layers = []
    for _ in range(convolutions):
        norm = [nn.GroupNorm(groups, channels)] if group_norm else []
        layers.append(nn.Sequential(small(nn.Conv2d(channels, channels, 3, padding=1)), *norm, nn.ReLU()))
    return nn.Sequential(*layers)


def small(conv: nn.Conv2d, bias: float = 0.0) -> nn.Conv2d:
    """`conv` with small random weights and every bias at `bias`."""
    nn.init.normal_(conv.weight, std=0.01)
    nn.init.constant_(conv.bias, bias)
    return conv


def rare(conv: nn.Conv2d) -> nn.Conv2d:
    """`conv` whose logits say at first that objects are rare, so that the many places without one do not swamp the
    loss (Lin 2017, section 3.3)."""
    return small(conv, bias=-math.log((1 - PRIOR) / PRIOR))


def per_place(x: Tensor, values: int) -> Tensor:
    """``(B, A * values, H, W)`` as ``(B, H * W * A, values)``."""
    batch, channels, height, width = x.shape
    x = x.view(batch, channels // values, values, height, width)
    return x.permute(0, 3, 4, 1, 2).reshape(batch, -1, values)


def likeliest_of_logits(postprocess: Postprocess, logits: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The best of what is likely of a level, whose scores are sigmoids: as `Postprocess.likeliest`, but most places are
    sorted out by their logits, and only of the best a score is made.

    Args:
        postprocess: says what is likely enough, and how many are.
        logits: ``(B, P, K)``.
    """
    images, places, classes = logits.shape
    least = torch.tensor(postprocess.score_threshold or 0.0).clamp(0, 1).logit().item()
    # A little less than what is asked for, so that rounding does not decide here; the logit of nothing is -inf.
    likely = torch.where((logits >= least - 0.01).flatten())[0]
    bounds = torch.arange(images + 1, device=logits.device) * places
    place, label, values = postprocess.best(likely, logits.flatten()[likely].float(), bounds, classes)
    scores = values.sigmoid()
    kept = torch.where(postprocess.passes(scores))[0]
    place = place[kept]
    return place // places, place % places, label[kept], scores[kept]


def detections_of_levels(
    levels: Sequence[Scored], postprocess: Postprocess, num_classes: int, context: Context
) -> list[Detections]:
    """The detections of each image among what is likely on each level, in pixels of the images as given.

    What is no class competes with the others and is left out at the end.

    Args:
        levels: the candidates of each level, images in turn.
        postprocess: what makes detections of them.
        num_classes: labels from here on are no class.
        context: of the batch.
    """
    together = Scored(*(torch.cat(part) for part in zip(*levels, strict=True)))
    in_turn = together.at(together.image_index.argsort(stable=True))
    found = postprocess.suppressed(*in_turn, context.batch.sizes)
    return context.batch.restore([of_image[of_image.labels < num_classes] for of_image in found])
