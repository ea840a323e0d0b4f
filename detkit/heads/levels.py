"""What heads share that look at all levels of a pyramid with the same weights: RPN, RetinaNet, FCOS.

P  places of an image (anchors or locations) over all levels     M  pairs of a place and the object it is to find
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from detkit.boxes import clip_boxes
from detkit.errors import InputError
from detkit.losses import sigmoid_focal_loss
from detkit.matching import FOREGROUND, IGNORED
from detkit.ops import batched_nms
from detkit.structures import Detections, Target

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
    """3x3 convolutions with ReLU that keep the number of channels; normalised, if so, in 32 groups of 256 channels."""
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


class Pairs(NamedTuple):
    """Places of a batch and the objects that they are to find.

    Args:
        image: ``(M,)`` int64.
        place: ``(M,)`` int64 among the P of the image.
        boxes: ``(M, 4)`` of the objects, in pixels.
        labels: ``(M,)`` of the objects.
    """

    image: Tensor
    place: Tensor
    boxes: Tensor
    labels: Tensor


def foreground_pairs(indices: Tensor, states: Tensor, targets: Sequence[Target]) -> Pairs:
    """The foreground places with their objects.

    Args:
        indices: ``(B, P)`` each place's object among those of its image.
        states: ``(B, P)``, as of `Matcher`.
        targets: ground truth of each image.
    """
    image, place = torch.where(states == FOREGROUND)
    objects = [target.objects() for target in targets]
    boxes = torch.cat([of_image.boxes for of_image in objects])
    labels = torch.cat([of_image.labels for of_image in objects])
    before = torch.tensor([0, *(len(of_image) for of_image in objects[:-1])]).cumsum(0).to(states.device)
    rows = before[image] + indices[image, place]
    return Pairs(image, place, boxes[rows], labels[rows])


def class_losses(logits: Tensor, states: Tensor, pairs: Pairs, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """The focal losses of each image, summed over all places but ignored ones and over classes: ``(B,)``.

    Args:
        logits: ``(B, P, K)``, each class a question of its own.
        states: ``(B, P)``, as of `Matcher`.
        pairs: the foreground.
        alpha: see `sigmoid_focal_loss`.
        gamma: see `sigmoid_focal_loss`.
    """
    truth = torch.zeros_like(logits, dtype=torch.bool)
    truth[pairs.image, pairs.place, pairs.labels] = True
    losses = sigmoid_focal_loss(logits, truth, alpha, gamma)
    return losses.masked_fill(states[..., None] == IGNORED, 0).sum(dim=(1, 2))


class Candidates(NamedTuple):
    """What may be detections of an image.

    Args:
        boxes: ``(R, 4)`` in pixels.
        scores: ``(R,)`` in [0, 1].
        labels: ``(R,)`` int64.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


def likeliest(scores: Tensor, threshold: float, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Places, scores and labels ``(R,)`` of the best of `scores` ``(P, K)``: above `threshold`, and at most `count`."""
    place, label = torch.where(scores > threshold)
    scores = scores[place, label]
    if len(scores) > count:
        scores, best = scores.topk(count)
        place, label = place[best], label[best]
    return place, scores, label


def select(
    levels: Sequence[Candidates], size: tuple[int, int], num_classes: int, nms_threshold: float, count: int
) -> Detections:
    """The detections among the candidates of all levels of an image: cut to its edges, suppressed per class, the best.

    What is no class competes with the others and is left out at the end; so is a box that is not finite.

    Args:
        levels: the candidates of each level.
        size: (height, width) of the image.
        num_classes: labels from here on are no class.
        nms_threshold: IoU above which the less likely of two boxes of a class is dropped.
        count: most detections.
    """
    boxes, scores, labels = (torch.cat(part) for part in zip(*levels, strict=True))
    boxes = clip_boxes(boxes, size)
    kept = batched_nms(boxes, scores, labels, nms_threshold)[:count]
    kept = kept[(labels[kept] < num_classes) & boxes[kept].isfinite().all(dim=1)]
    return Detections(boxes[kept], scores[kept], labels[kept])
