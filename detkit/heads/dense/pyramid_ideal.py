"""The output of a perfect network for the anchors of a pyramid.

B  images     P  anchors of a level     C  scores of an anchor
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from detkit.boxes import DeltaCoder
from detkit.heads.assignment import CERTAIN, AssignedCandidates
from detkit.structures.objects import Objects


def ideal_levels(
    logits: Sequence[Tensor],
    deltas: Sequence[Tensor],
    anchors: Sequence[Tensor],
    coder: DeltaCoder,
    rows: Tensor,
    objects: Objects,
) -> tuple[list[Tensor], list[Tensor]]:
    """Exact deltas and sure scores of the anchors with an object, background everywhere else.

    Args:
        logits: of each level ``(B, P, C)``, for their shapes; with one score there are no classes.
        deltas: of each level ``(B, P, 4)``, for their shapes.
        anchors: of each level ``(P, 4)``.
        coder: of the deltas.
        rows: ``(B * P,)`` over all levels, the object of each anchor, see `DenseHead.assign`.
        objects: of the batch.
    """
    counts = [level.shape[1] for level in deltas]
    scores, offsets = torch.cat(list(logits), dim=1), torch.cat(list(deltas), dim=1)
    scores, offsets = scores.new_full(scores.shape, -CERTAIN), offsets.new_zeros(offsets.shape)
    own = AssignedCandidates.of(rows, objects)
    references = torch.cat(list(anchors))[own.candidates % sum(counts)]
    labels = own.labels if scores.shape[2] > 1 else torch.zeros_like(own.labels)
    scores.flatten(0, 1)[own.candidates, labels] = own.logits.to(scores)
    offsets.flatten(0, 1)[own.candidates] = coder.encode(references, own.boxes).to(offsets)
    return list(torch.split(scores, counts, 1)), list(torch.split(offsets, counts, 1))
