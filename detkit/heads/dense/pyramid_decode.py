"""Decoding of predictions on the levels of a pyramid to detections (RetinaNet, FCOS).

B  images     P  locations of a level     K  classes     R  candidates
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from detkit.heads.context import Context
from detkit.heads.postprocess import Postprocess
from detkit.heads.scored_boxes import ScoredBoxes
from detkit.structures import Detections


def topk_candidates_from_logits(postprocess: Postprocess, logits: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As `Postprocess.topk_candidates` for scores that are sigmoids of `logits`, but faster.

    Logits are compared with that of the threshold, so that a sigmoid is computed for the best of them only.

    Args:
        postprocess: gives the score threshold and the number of candidates.
        logits: ``(B, P, K)``.

    Returns:
        The image, the location, the label and the score of each ``(R,)``, ordered by image.
    """
    images, locations, classes = logits.shape
    threshold = torch.tensor(postprocess.score_threshold or 0.0).clamp(0, 1).logit().item()
    # A little less than the threshold, so that rounding does not decide here; without a threshold its logit is -inf.
    passing = torch.where((logits >= threshold - 0.01).flatten())[0]
    bounds = torch.arange(images + 1, device=logits.device) * locations
    row, label, values = postprocess.topk(passing, logits.flatten()[passing].float(), bounds, classes)
    scores = values.sigmoid()
    kept = torch.where(postprocess.above_threshold(scores))[0]
    row = row[kept]
    return row // locations, row % locations, label[kept], scores[kept]


def detections_of_levels(
    levels: Sequence[ScoredBoxes], postprocess: Postprocess, num_classes: int, context: Context
) -> list[Detections]:
    """The detections of each image from the candidates of all levels, in pixels of the images as given.

    A background logit, which torchvision's weights have, competes with the classes and is dropped at the end.

    Args:
        levels: the candidates of each level, ordered by image.
        postprocess: suppresses overlaps.
        num_classes: labels from here on are background.
        context: of the batch.
    """
    together = ScoredBoxes(*(torch.cat(part) for part in zip(*levels, strict=True)))
    ordered = together.take(together.image_index.argsort(stable=True))
    detections = postprocess.suppress(*ordered, context.batch.sizes)
    return context.batch.restore([per_image[per_image.labels < num_classes] for per_image in detections])
