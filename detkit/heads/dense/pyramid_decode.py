"""Decoding of predictions on the levels of a pyramid to detections (RetinaNet, FCOS), without waiting for a device.

B  images     P  locations of a level     K  classes     N  candidates of an image
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from detkit.heads.activations import Activation, sigmoid_scores
from detkit.heads.assignment import image_indices
from detkit.heads.context import Context
from detkit.heads.postprocess import Postprocess
from detkit.heads.scored_boxes import PaddedBoxes, topk_of_rows
from detkit.ops import is_exporting


class PyramidCandidates(NamedTuple):
    """The best predictions of each image on every level, level by level.

    Args:
        locations: ``(B, N)`` int64, among the locations of all levels.
        labels: ``(B, N)`` int64.
        scores: ``(B, N)``.
        counts: how many of the N are of each level.
        classes: how many the labels stand for, with background if there is a logit for it.
    """

    locations: Tensor
    labels: Tensor
    scores: Tensor
    counts: Sequence[int]
    classes: int


def best_of_levels(
    postprocess: Postprocess,
    logits: Sequence[Tensor],
    objectness: Sequence[Tensor] | None = None,
    activation: Activation = sigmoid_scores,
) -> PyramidCandidates:
    """The predictions with the highest scores, at most `Postprocess.candidates` of an image and level.

    Those below the threshold are among them: how many pass is known to the device alone.

    Args:
        postprocess: gives the number of candidates.
        logits: ``(B, P, K)`` of each level.
        objectness: ``(B, P)`` of each level, if the head predicts it.
        activation: of logits and objectness; scores must not fall where either rises.
    """
    parts, first = [], 0
    for level, of_level in enumerate(logits):
        own = None if objectness is None else objectness[level]
        locations, labels, scores = _best_of_level(postprocess, of_level, own, activation)
        parts.append((locations + first if first else locations, labels, scores))
        first += of_level.shape[1]
    locations, labels, scores = (torch.cat(part, dim=1) for part in zip(*parts, strict=True))
    return PyramidCandidates(locations, labels, scores, [part[0].shape[1] for part in parts], logits[0].shape[2])


def padded_detections(
    candidates: PyramidCandidates, boxes: Tensor, postprocess: Postprocess, num_classes: int, context: Context
) -> PaddedBoxes:
    """The detections of each image in the network's frame.

    A background logit, which torchvision's weights have, competes with the classes and is dropped at the end.

    Args:
        candidates: of all levels.
        boxes: ``(B, N, 4)`` in the network's frame.
        postprocess: applies the threshold and suppresses overlaps.
        num_classes: labels from here on are background.
        context: of the batch.
    """
    image_index = image_indices(boxes.shape[0], boxes.shape[1], boxes.device)
    scored = boxes.flatten(0, 1), candidates.scores.flatten(), candidates.labels.flatten(), image_index
    padded = postprocess.padded(*scored, context.batch.sizes)
    return padded.where(padded.labels < num_classes) if candidates.classes > num_classes else padded


def _best_of_level(
    postprocess: Postprocess, logits: Tensor, objectness: Tensor | None, activation: Activation
) -> tuple[Tensor, Tensor, Tensor]:
    """The location, the label and the score ``(B, N)`` of the best predictions of each image.

    The N best predictions are made at the N locations whose best class is best: only these are looked at closely.
    """
    _, count, classes = logits.shape
    most = _most_candidates(postprocess, logits, objectness, activation)
    looked_at = best = None
    if is_exporting() or most < count:
        best, looked_at = topk_of_rows(_keys(logits.amax(dim=2, keepdim=True), objectness, activation)[..., 0], most)
        logits = logits.gather(1, looked_at[..., None].expand(-1, -1, classes))
        objectness = None if objectness is None else objectness.gather(1, looked_at)
    keys = _keys(logits, objectness, activation)
    if best is not None and is_exporting():  # a level may have fewer locations
        keys = keys.masked_fill((best == -math.inf)[..., None], -math.inf)
    keys = keys.flatten(1)
    # NaN would be greater than any number.
    _, entries = topk_of_rows(keys.nan_to_num(nan=-math.inf, posinf=math.inf, neginf=-math.inf), most)
    locations, keys = entries // classes, keys.gather(1, entries)
    labels = entries - locations * classes
    locations = locations if looked_at is None else looked_at.gather(1, locations)
    return locations, labels, activation(keys, None) if objectness is None else keys


def _keys(logits: Tensor, objectness: Tensor | None, activation: Activation) -> Tensor:
    """What ranks as the scores do: logits themselves if there is nothing else, since great ones have equal scores."""
    if objectness is None:
        return logits.float()
    return activation(logits.flatten(0, 1), objectness.flatten()).view(logits.shape)


def _most_candidates(
    postprocess: Postprocess, logits: Tensor, objectness: Tensor | None, activation: Activation
) -> int:
    """The most candidates of an image; where there is no limit, as many as pass, for which this waits."""
    if postprocess.candidates is not None:
        return postprocess.candidates
    if is_exporting():
        return logits.shape[1] * logits.shape[2]
    flat = None if objectness is None else objectness.flatten()
    scores = activation(logits.flatten(0, 1), flat).view(len(logits), -1)
    return int(postprocess.above_threshold(scores).sum(dim=1).max())
