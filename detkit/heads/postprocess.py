"""Postprocessing of scored boxes to detections: score threshold, suppression, top-k (NMS, Soft-NMS).

B  images     P  locations of an image     K  classes     R  boxes of a batch, ordered by image
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, Self

import torch
from torch import Tensor

from detkit.boxes import at_least
from detkit.deprecation import warn
from detkit.geometry import Size
from detkit.heads.raw_outputs import note
from detkit.heads.scored_boxes import (
    PaddedBoxes,
    ScoredBoxes,
    class_groups,
    clip_to_images,
    finite_boxes,
    first_of_images,
    topk_boxes,
    topk_of_classes,
    topk_of_images,
    topk_per_group,
)
from detkit.ops import batched_nms, batched_nms_padded
from detkit.ops.soft_nms import Decay, soft_nms
from detkit.structures import Detections


class Postprocess(ABC):
    """Turns the scored boxes of a head into detections.

    A head takes one as an argument and fills in its own values for what is None, see `with_defaults`. A subclass
    implements `resolve`, which handles overlapping boxes.

    Args:
        score_threshold: scores must be greater than this; None is the head's own, or no threshold without a head.
        candidates: most boxes that enter suppression, of each image, level or class, as the head counts them; None is
            the head's own.
        detections: most detections of an image; None is the head's own.

    Attributes:
        candidates_of: what `candidates` counts: boxes of each image, of each class of an image, or of each level, which
            the head limits itself, before it decodes boxes.
        clip: whether boxes are clipped to their image before or after suppression; None does not clip.
        least_side: least width and height of a clipped box in pixels.
        at_threshold: whether a score that equals `score_threshold` passes.
    """

    def __init__(
        self, score_threshold: float | None = None, candidates: int | None = None, detections: int | None = None
    ) -> None:
        self.score_threshold = score_threshold
        self.iou_threshold: float | None = None
        self.candidates = candidates
        self.detections = detections
        self.candidates_of: Literal["image", "level", "class"] = "image"
        self.clip: Literal["before", "after"] | None = "before"
        self.least_side = 0.0
        self.at_threshold = False

    def with_defaults(
        self,
        score_threshold: float | None = None,
        iou_threshold: float | None = None,
        candidates: int | None = None,
        detections: int | None = None,
        candidates_of: Literal["image", "level", "class"] = "image",
        clip: Literal["before", "after"] | None = "before",
        least_side: float = 0.0,
        at_threshold: bool = False,
    ) -> Self:
        """A copy with a head's own values in place of None, and with how the head counts and clips.

        Args:
            score_threshold: used if None was given.
            iou_threshold: used if None was given; IoU above which the lower-scoring of two boxes of a class is dropped.
            candidates: used if None was given.
            detections: used if None was given.
            candidates_of: see the attributes.
            clip: see the attributes.
            least_side: see the attributes.
            at_threshold: see the attributes.
        """
        filled = copy.copy(self)
        names = "score_threshold", "iou_threshold", "candidates", "detections"
        for name, value in zip(names, (score_threshold, iou_threshold, candidates, detections), strict=True):
            setattr(filled, name, value if getattr(filled, name) is None else getattr(filled, name))
        filled.candidates_of, filled.clip = candidates_of, clip
        filled.least_side, filled.at_threshold = least_side, at_threshold
        return filled

    @property
    def _threshold(self) -> float:
        return 0.5 if self.iou_threshold is None else self.iou_threshold

    @abstractmethod
    def resolve(self, scored: ScoredBoxes, images: int) -> ScoredBoxes:
        """The boxes that remain after overlaps are resolved, the best of each image first.

        Args:
            scored: the candidates of all images.
            images: how many images there are.
        """

    @torch.no_grad()
    def __call__(
        self, boxes: Tensor, scores: Tensor, labels: Tensor, image_index: Tensor, sizes: Sequence[Size]
    ) -> list[Detections]:
        """The detections of each image, best first and clipped to it; boxes that are not finite are dropped.

        Args:
            boxes: ``(R, 4)`` in the network's frame.
            scores: ``(R,)`` in [0, 1].
            labels: ``(R,)`` int64; boxes of different labels do not suppress each other.
            image_index: ``(R,)`` int64, the image of each, ascending.
            sizes: (height, width) of each image in the network's frame.
        """
        return self.padded(boxes, scores, labels, image_index, sizes).detections()

    @torch.no_grad()
    def padded(
        self, boxes: Tensor, scores: Tensor, labels: Tensor, image_index: Tensor, sizes: Sequence[Size]
    ) -> PaddedBoxes:
        """As a call, but with a result of fixed size, which `NMS` needs not wait for the device for."""
        usable = self.above_threshold(scores.float())
        if self.candidates is not None and self.candidates_of != "level" and len(scores) > self.candidates:
            scored = ScoredBoxes(boxes, scores, labels, image_index).take(torch.where(usable)[0])
            of_class = self.candidates_of == "class"
            boxes, scores, labels, image_index = topk_boxes(scored, len(sizes), self.candidates, of_class)
            usable = torch.ones_like(image_index, dtype=torch.bool)
        return self._suppressed(ScoredBoxes(boxes, scores.masked_fill(~usable, 0), labels, image_index), usable, sizes)

    @torch.no_grad()
    def suppress(
        self, boxes: Tensor, scores: Tensor, labels: Tensor, image_index: Tensor, sizes: Sequence[Size]
    ) -> list[Detections]:
        """As a call, of candidates that are above the threshold and few enough, as `topk_candidates` gives them."""
        scored = ScoredBoxes(boxes, scores, labels, image_index)
        return self._suppressed(scored, torch.ones_like(image_index, dtype=torch.bool), sizes).detections()

    def _suppressed(self, scored: ScoredBoxes, usable: Tensor, sizes: Sequence[Size]) -> PaddedBoxes:
        """The detections of each image from the `scored` boxes that are `usable` ``(R,)``."""
        boxes = scored.boxes.float()
        if self.clip == "before":
            boxes = clip_to_images(boxes, scored.image_index, sizes)
        note("decoded boxes", boxes)
        usable = usable & finite_boxes(boxes)
        if self.least_side > 0 and self.clip == "before":
            usable &= at_least(boxes, self.least_side)
        padded = self.best_of_images(scored._replace(boxes=boxes, scores=scored.scores.float()), usable, len(sizes))
        return padded.clipped(sizes, self.least_side) if self.clip == "after" else padded

    def best_of_images(self, scored: ScoredBoxes, usable: Tensor, images: int) -> PaddedBoxes:
        """The best `detections` of each image after overlaps are resolved, of the boxes that are `usable` ``(R,)``."""
        rows = torch.where(usable)[0]
        resolved = self.resolve(scored if len(rows) == len(usable) else scored.take(rows), images)
        return PaddedBoxes.of(resolved, *first_of_images(resolved.image_index, self.detections, images))

    def above_threshold(self, scores: Tensor) -> Tensor:
        """Which of `scores` pass the threshold, bool of their shape; NaN does not."""
        if self.score_threshold is None:
            return scores == scores
        return scores >= self.score_threshold if self.at_threshold else scores > self.score_threshold

    def passes(self, scores: Tensor) -> Tensor:
        """The old name of `above_threshold`, for one release."""
        warn(f"{type(self).__name__}.passes is {type(self).__name__}.above_threshold now")
        return self.above_threshold(scores)

    def topk_candidates(self, scores: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The highest scores above the threshold, at most `candidates`; only their boxes need be decoded.

        Args:
            scores: ``(B, P, K)``.

        Returns:
            The image, the location, the label and the score of each ``(R,)``, ordered by image.
        """
        images, locations, classes = scores.shape
        passes = self.above_threshold(scores)
        passing = torch.where(passes.flatten())[0]
        if self.candidates is not None and self.candidates_of == "class" and 8 * len(passing) > scores.numel():
            return topk_of_classes(torch.where(passes, scores, -torch.inf), self.candidates)
        bounds = torch.arange(images + 1, device=scores.device) * locations
        row, label, scores = self.topk(passing, scores.flatten().index_select(0, passing), bounds, classes)
        return row // locations, row % locations, label, scores

    def topk(self, passing: Tensor, scores: Tensor, bounds: Tensor, classes: int) -> tuple[Tensor, Tensor, Tensor]:
        """The best of the scores above the threshold, at most `candidates` of them.

        Args:
            passing: ``(R,)`` int64, ascending: ``row * classes + label``; rows number the locations of all images.
            scores: ``(R,)``.
            bounds: ``(B + 1,)`` int64, the first row of each image, and the number of rows.
            classes: the number of classes.

        Returns:
            The row, the label and the score of each.
        """
        if self.candidates is not None and len(passing) > self.candidates:
            ends = bounds * classes
            if self.candidates_of == "class":
                images = torch.searchsorted(ends[1:], passing, right=True)
                best = topk_per_group(scores, images * classes + passing % classes, self.candidates)
                passing, scores = passing[best], scores[best]
            else:
                counts = [end - start for start, end in pairwise(torch.searchsorted(passing, ends).tolist())]
                passing, scores = topk_of_images(passing, scores, counts, self.candidates)
        return passing // classes, passing % classes, scores


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
        count = len(usable) if self.detections is None else min(self.detections, len(usable))
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

    def resolve(self, scored: ScoredBoxes, images: int) -> ScoredBoxes:
        """The boxes whose decayed score still passes the threshold, with that score."""
        kept, scores = soft_nms(
            scored.boxes, scored.scores, self._threshold, self.sigma, self.method, self.score_threshold or 0.0,
            class_groups(scored, images),
        )  # fmt: skip
        return scored.take(kept)._replace(scores=scores)


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
