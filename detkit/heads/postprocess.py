"""From scored boxes to detections, for every head: drop the unlikely, suppress, keep the best.

R  boxes of a batch, those of each image in turn     B  images
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
from detkit.geometry import Size
from detkit.heads.scored import (
    Scored,
    best_of_each,
    counts_of,
    cut,
    finite,
    first_of_each_image,
    groups_of,
)
from detkit.ops import batched_nms
from detkit.ops.soft_nms import Decay, soft_nms
from detkit.structures import Detections


class Postprocess(ABC):
    """What makes detections of all that a head might answer.

    A head takes one as an argument and fills what was left out with its own values, `with_defaults`. A subclass says
    what becomes of boxes that overlap, `resolve`.

    Args:
        score_threshold: scores must be greater than this; None: the head's own, without a head none.
        candidates: the best so many enter suppression; None: the head's own, which also says of what: of an image, a
            level or a class.
        detections: most detections of an image; None: the head's own.

    Attributes:
        candidates_of: what `candidates` counts: the boxes of each image or of each class in it; or of each level,
            which the head does before it decodes boxes, by `likeliest`.
        clip: whether boxes are cut at the edges of their image before suppression or after it; None: not at all.
        least_side: pixels that a box must be wide and high once it is cut.
        at_threshold: whether a score that equals `score_threshold` is enough.
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
        """The same with a head's own values where none was given, and the head's way to count and to cut.

        Args:
            score_threshold: if none was given.
            iou_threshold: if none was given; IoU above which the less likely of two boxes of a class is dropped.
            candidates: if none was given.
            detections: if none was given.
            candidates_of: see the attributes.
            clip: see the attributes.
            least_side: see the attributes.
            at_threshold: see the attributes.
        """
        filled = copy.copy(self)
        for name, value in (
            ("score_threshold", score_threshold),
            ("iou_threshold", iou_threshold),
            ("candidates", candidates),
            ("detections", detections),
        ):
            if getattr(filled, name) is None:
                setattr(filled, name, value)
        filled.candidates_of, filled.clip = candidates_of, clip
        filled.least_side, filled.at_threshold = least_side, at_threshold
        return filled

    @abstractmethod
    def resolve(self, scored: Scored, images: int) -> Scored:
        """What stays of boxes that overlap, the best of each image first.

        Args:
            scored: the candidates of all images.
            images: how many images there are.
        """

    @torch.no_grad()
    def __call__(
        self, boxes: Tensor, scores: Tensor, labels: Tensor, image_index: Tensor, sizes: Sequence[Size]
    ) -> list[Detections]:
        """The detections of each image, best first, cut at its edges; boxes that are not finite are none.

        Args:
            boxes: ``(R, 4)`` in the network's frame.
            scores: ``(R,)`` in [0, 1].
            labels: ``(R,)`` int64, boxes of different labels leave each other alone.
            image_index: ``(R,)`` int64, the image of each, ascending.
            sizes: (height, width) of each image in the network's frame.
        """
        likely = torch.where(self.passes(scores.float()))[0]
        scored = Scored(boxes, scores, labels, image_index).at(likely)
        best = None
        if self.candidates_of != "level":
            best = self._best(scored.scores, scored.labels, counts_of(scored.image_index, len(sizes)))
        return self.suppressed(*(scored if best is None else scored.at(best)), sizes)

    @torch.no_grad()
    def suppressed(
        self, boxes: Tensor, scores: Tensor, labels: Tensor, image_index: Tensor, sizes: Sequence[Size]
    ) -> list[Detections]:
        """As a call, of candidates that are likely and few enough, as `likeliest` gives them."""
        boxes, scores = boxes.float(), scores.float()
        if self.clip == "before":
            boxes = cut(boxes, image_index, sizes)
        usable = finite(boxes)
        if self.least_side > 0 and self.clip == "before":
            usable &= at_least(boxes, self.least_side)
        scored = Scored(boxes, scores, labels, image_index)
        rows = torch.where(usable)[0]
        scored = self.resolve(scored if len(rows) == len(scores) else scored.at(rows), len(sizes))
        scored = first_of_each_image(scored, self.detections, len(sizes))
        if self.clip == "after":
            scored = scored._replace(boxes=cut(scored.boxes, scored.image_index, sizes))
            scored = scored.at(torch.where(at_least(scored.boxes, self.least_side))[0])
        counts = counts_of(scored.image_index, len(sizes))
        return [Detections(*of_image) for of_image in zip(*(part.split(counts) for part in scored[:3]), strict=True)]

    def passes(self, scores: Tensor) -> Tensor:
        """Which of `scores` are high enough, NaN is not; bool of their shape."""
        if self.score_threshold is None:
            return scores == scores
        return scores >= self.score_threshold if self.at_threshold else scores > self.score_threshold

    def likeliest(self, scores: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What is likely enough of P places, and the best of it: as many candidates as the head counts.

        What is decided here needs no box, and boxes need be decoded of these places alone.

        Args:
            scores: ``(B, P, K)`` of K classes.

        Returns:
            The image, the place, the label and the score of each ``(R,)``, images in turn.
        """
        images, places, classes = scores.shape
        bounds = torch.arange(images + 1, device=scores.device) * places
        scores = scores.flatten()
        likely = torch.where(self.passes(scores))[0]
        row, label, scores = self.best(likely, scores[likely], bounds, classes)
        return row // places, row % places, label, scores

    def best(self, likely: Tensor, scores: Tensor, bounds: Tensor, classes: int) -> tuple[Tensor, Tensor, Tensor]:
        """The best of what is likely enough.

        Args:
            likely: ``(R,)`` int64, ascending: ``place * classes + label``, places of all images in turn.
            scores: ``(R,)``.
            bounds: ``(B + 1,)`` int64, where the places of each image begin, and where the last ones end.
            classes: how many there are.

        Returns:
            The place, the label and the score of each.
        """
        if self.candidates is not None and len(likely) > self.candidates:
            ends = torch.searchsorted(likely, bounds * classes).tolist()
            counts = [end - start for start, end in pairwise(ends)]
            best = self._best(scores, likely % classes if self.candidates_of == "class" else likely, counts)
            if best is not None:
                likely, scores = likely[best], scores[best]
        return likely // classes, likely % classes, scores

    def _best(self, scores: Tensor, labels: Tensor, counts: Sequence[int]) -> Tensor | None:
        """Indices of at most `candidates` of each image, or of each class in it; None if these are all there are.

        Args:
            scores: ``(R,)`` of all images in turn.
            labels: ``(R,)``.
            counts: how many of the R each image has.
        """
        most = self.candidates
        if most is None or max(counts) <= most:
            return None
        chosen, start = [], 0
        for its, of_class in zip(scores.split(list(counts)), labels.split(list(counts)), strict=True):
            if len(its) <= most:
                best = torch.arange(len(its), device=scores.device)
            elif self.candidates_of == "class":
                best = best_of_each(its, of_class, most)
            else:
                best = its.topk(most).indices
            chosen.append(best + start)
            start += len(its)
        return torch.cat(chosen)


class NMS(Postprocess):
    """Of boxes of a class that overlap, the best one stays.

    Args:
        score_threshold: scores must be greater than this; None, here and below: the head's own.
        iou_threshold: IoU above which the less likely of two boxes of a class is dropped; without a head 0.5.
        candidates: the best so many enter suppression, of each image, level or class, as the head counts them.
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

    def resolve(self, scored: Scored, images: int) -> Scored:
        """The boxes that no better one of their class and image suppresses."""
        threshold = 0.5 if self.iou_threshold is None else self.iou_threshold
        return scored.at(batched_nms(scored.boxes, scored.scores, groups_of(scored, images), threshold))


class SoftNMS(NMS):
    """A box that overlaps a better one of its class loses score, not its life (Bodla et al. 2017).

    Args:
        score_threshold: scores must be greater than this, at first, and not lower after decay; None, here and below:
            the head's own.
        iou_threshold: IoU above which overlaps count, of ``linear`` and ``hard``; without a head 0.5.
        candidates: the best so many enter suppression, of each image, level or class, as the head counts them.
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

    def resolve(self, scored: Scored, images: int) -> Scored:
        """All boxes whose score is still high enough, with that score."""
        threshold = 0.5 if self.iou_threshold is None else self.iou_threshold
        kept, scores = soft_nms(
            scored.boxes, scored.scores, threshold, self.sigma, self.method, self.score_threshold or 0.0,
            groups_of(scored, images),
        )  # fmt: skip
        return scored.at(kept)._replace(scores=scores)


class TopK(Postprocess):
    """No suppression: the best boxes are the detections, however they overlap.

    Args:
        score_threshold: scores must be greater than this; None, here and below: the head's own.
        candidates: the best so many of each image, level or class, as the head counts them.
        detections: most detections of an image.
    """

    def resolve(self, scored: Scored, images: int) -> Scored:
        """All of them, best first."""
        return scored.at(scored.scores.argsort(descending=True, stable=True))
