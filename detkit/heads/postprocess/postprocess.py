"""`Postprocess`, which turns scored boxes into detections: score threshold, suppression, top-k.

B  images     P  locations of an image     K  classes     R  boxes of a batch, ordered by image
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from itertools import pairwise
from typing import Literal, Self

import torch
from torch import Tensor

from detkit.boxes import at_least
from detkit.deprecation import warn
from detkit.errors import InputError
from detkit.heads.raw_outputs import note
from detkit.heads.scored_boxes import (
    PaddedBoxes,
    ScoredBoxes,
    Sizes,
    clip_to_images,
    count_of,
    finite_boxes,
    first_of_images,
    topk_boxes,
    topk_of_classes,
    topk_of_images,
    topk_of_images_padded,
    topk_per_group,
)
from detkit.ops import is_exporting
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
        self, boxes: Tensor, scores: Tensor, labels: Tensor, image_index: Tensor, sizes: Sizes
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
    def padded(self, boxes: Tensor, scores: Tensor, labels: Tensor, image_index: Tensor, sizes: Sizes) -> PaddedBoxes:
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
        self, boxes: Tensor, scores: Tensor, labels: Tensor, image_index: Tensor, sizes: Sizes
    ) -> list[Detections]:
        """As a call, of candidates that are above the threshold and few enough, as `topk_candidates` gives them."""
        return self.suppress_padded(boxes, scores, labels, image_index, sizes).detections()

    @torch.no_grad()
    def suppress_padded(
        self, boxes: Tensor, scores: Tensor, labels: Tensor, image_index: Tensor, sizes: Sizes
    ) -> PaddedBoxes:
        """As `suppress`, but with a result of fixed size."""
        usable = scores > -math.inf if is_exporting() else torch.ones_like(image_index, dtype=torch.bool)
        return self._suppressed(ScoredBoxes(boxes, scores, labels, image_index), usable, sizes)

    def _suppressed(self, scored: ScoredBoxes, usable: Tensor, sizes: Sizes) -> PaddedBoxes:
        """The detections of each image from the `scored` boxes that are `usable` ``(R,)``."""
        boxes = scored.boxes.float()
        if self.clip == "before":
            boxes = clip_to_images(boxes, scored.image_index, sizes)
        note("decoded boxes", boxes)
        usable = usable & finite_boxes(boxes)
        if self.least_side > 0 and self.clip == "before":
            usable &= at_least(boxes, self.least_side)
        padded = self.best_of_images(
            scored._replace(boxes=boxes, scores=scored.scores.float()), usable, count_of(sizes)
        )
        return padded.clipped(sizes, self.least_side) if self.clip == "after" else padded

    def best_of_images(self, scored: ScoredBoxes, usable: Tensor, images: int) -> PaddedBoxes:
        """The best `detections` of each image after overlaps are resolved, of the boxes that are `usable` ``(R,)``.

        In an exported graph, as many boxes come of each image.

        Raises:
            InputError: a graph is exported, but how many boxes are resolved depends on them.
        """
        if is_exporting():
            name = type(self).__name__
            raise InputError(
                f"{name} cannot be part of a graph: set NMS, SoftNMS or TopK as postprocess, or export without it"
            )
        rows = torch.where(usable)[0]
        resolved = self.resolve(scored if len(rows) == len(usable) else scored.take(rows), images)
        return PaddedBoxes.of(resolved, *first_of_images(resolved.image_index, self.detections, images))

    def _most_detections(self, usable: Tensor) -> int:
        """The most detections of an image; in an exported graph, which may not know how many boxes there are, no
        fewer than `detections`."""
        if self.detections is None:
            return usable.shape[0]
        return self.detections if is_exporting() else min(self.detections, len(usable))

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
            The image, the location, the label and the score of each ``(R,)``, ordered by image. In an exported graph
            they are as many of each image, and a score of -inf is none.
        """
        images, locations, classes = scores.shape
        passes = self.above_threshold(scores)
        if is_exporting():
            of_class = self.candidates_of == "class"
            return topk_of_images_padded(torch.where(passes, scores, -math.inf), self.candidates, of_class)
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
