"""The ways to handle overlapping boxes: `NMS`, `SoftNMS`, and `TopK`, which leaves them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from detkit.heads.postprocess.postprocess import Postprocess
from detkit.heads.scored_boxes import PaddedBoxes, ScoredBoxes, class_groups, topk_of_rows
from detkit.ops import batched_nms, batched_nms_padded, is_exporting
from detkit.ops.soft_nms import Decay, batched_soft_nms_padded, soft_nms


class NMS(Postprocess):
    """Non-maximum suppression within each class.

    Args:
        score_threshold: scores must be greater than this; None, here and below, is the head's own.
        iou_threshold: IoU above which the lower-scoring of two boxes of a class is dropped; 0.5 without a head.
        candidates: most boxes that enter suppression, of each image, level or class, as the head counts them.
        detections: most detections of an image.
    """

    def __init__(
        self,
        score_threshold: float | None = None,
        iou_threshold: float | None = None,
        candidates: int | None = None,
        detections: int | None = None,
    ) -> None:
        super().__init__(score_threshold, candidates, detections)
        self.iou_threshold = iou_threshold

    def resolve(self, scored: ScoredBoxes, images: int) -> ScoredBoxes:
        """The boxes that no higher-scoring one of their class and image suppresses."""
        return scored.take(batched_nms(scored.boxes, scored.scores, class_groups(scored, images), self._threshold))

    def best_of_images(self, scored: ScoredBoxes, usable: Tensor, images: int) -> PaddedBoxes:
        """As of `Postprocess`, without waiting for the device."""
        if type(self).resolve is not NMS.resolve:
            return super().best_of_images(scored, usable, images)
        return self._first_of_images(scored, usable, images)

    def _first_of_images(self, scored: ScoredBoxes, usable: Tensor, images: int) -> PaddedBoxes:
        """The best boxes of each image that no higher-scoring one of their class suppresses."""
        count = self._most_detections(usable)
        image_index = scored.image_index.masked_fill(~usable, -1)
        suppressed = scored.boxes, scored.scores, image_index, self._threshold, images, count, scored.labels
        return PaddedBoxes.of(scored, *batched_nms_padded(*suppressed))


class SoftNMS(NMS):
    """Soft-NMS: a box that overlaps a higher-scoring one of its class gets a lower score (Bodla et al. 2017).

    Args:
        score_threshold: scores must be greater than this before decay, and not lower after it; None as of `NMS`.
        iou_threshold: IoU above which overlaps count, of ``linear`` and ``hard``; 0.5 without a head.
        candidates: most boxes that enter suppression, of each image, level or class, as the head counts them.
        detections: most detections of an image.
        method: how scores decay, see `detkit.ops.soft_nms`.
        sigma: of ``gaussian``.
    """

    def __init__(
        self,
        score_threshold: float | None = None,
        iou_threshold: float | None = None,
        candidates: int | None = None,
        detections: int | None = None,
        method: Decay = "linear",
        sigma: float = 0.5,
    ) -> None:
        super().__init__(score_threshold, iou_threshold, candidates, detections)
        self.method, self.sigma = method, sigma

    @property
    def _least_score(self) -> float | Tensor:
        """The least decayed score; not negative, since scores are not. That of a graph is a tensor."""
        own = self.score_threshold
        if isinstance(own, Tensor):
            return own.clamp(min=0)
        return 0.0 if own is None else max(own, 0.0)

    def resolve(self, scored: ScoredBoxes, images: int) -> ScoredBoxes:
        """The boxes whose decayed score still passes the threshold, with that score."""
        kept, scores = soft_nms(
            scored.boxes, scored.scores, self._threshold, self.sigma, self.method, float(self._least_score),
            class_groups(scored, images),
        )  # fmt: skip
        return scored.take(kept)._replace(scores=scores)

    def best_of_images(self, scored: ScoredBoxes, usable: Tensor, images: int) -> PaddedBoxes:
        """As of `Postprocess`, also in an exported graph."""
        if type(self).resolve is not SoftNMS.resolve or not is_exporting():
            return super().best_of_images(scored, usable, images)
        if self.method == "hard":
            return self._first_of_images(scored, usable, images)
        boxes, scores, labels = (torch.unflatten(part, 0, (images, -1)) for part in scored[:3])
        scores = scores.masked_fill(~usable.view_as(scores), -math.inf)
        count = scores.shape[1] if self.detections is None else self.detections
        threshold = torch.as_tensor(self._least_score, dtype=scores.dtype, device=scores.device)
        rows, scores = batched_soft_nms_padded(
            boxes, scores, labels, threshold, self._threshold, self.sigma, self.method, count
        )
        rows = rows + torch.arange(images, device=rows.device)[:, None] * labels.shape[1]
        return PaddedBoxes.of(scored, rows, (scores > -math.inf).sum(dim=1))._replace(scores=scores)


class TopK(Postprocess):
    """No suppression: the highest-scoring boxes are the detections, however they overlap.

    Args:
        score_threshold: scores must be greater than this; None, here and below, is the head's own.
        candidates: most boxes of each image, level or class, as the head counts them.
        detections: most detections of an image.
    """

    def resolve(self, scored: ScoredBoxes, images: int) -> ScoredBoxes:
        """All boxes, best first."""
        return scored.take(scored.scores.argsort(descending=True, stable=True))

    def best_of_images(self, scored: ScoredBoxes, usable: Tensor, images: int) -> PaddedBoxes:
        """As of `Postprocess`, also in an exported graph."""
        if type(self).resolve is not TopK.resolve or not is_exporting():
            return super().best_of_images(scored, usable, images)
        scores = torch.unflatten(scored.scores.masked_fill(~usable, -math.inf), 0, (images, -1))
        best, rows = topk_of_rows(scores, scores.shape[1] if self.detections is None else self.detections)
        rows = rows + torch.arange(images, device=rows.device)[:, None] * scores.shape[1]
        return PaddedBoxes.of(scored, rows, (best > -math.inf).sum(dim=1))
