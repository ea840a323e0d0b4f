"""The class of the whole image."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.heads.activations import softmax_scores
from detkit.heads.context import Candidates, Context
from detkit.heads.dense.dense_head import in_turn
from detkit.heads.image.image_head import UNLABELED, ImageHead, image_labels, windows
from detkit.structures import Classification


class ClassificationOutput(NamedTuple):
    """What the head says.

    Args:
        logits: class logits ``(B, K)``.
        auxiliary: class logits ``(B, K)`` of each auxiliary classifier on the way through the trunk, in training.
    """

    logits: Tensor
    auxiliary: tuple[Tensor, ...] = ()


class ClassificationHead(ImageHead):
    """A softmax over classes: of one linear layer on the mean over the cells of a map, or of a net's own logits.

        map -> mean over cells -> dropout -> linear -> K class logits
        logits, and those of auxiliary classifiers ->

    Args:
        in_channels: channels of the map; nothing where the trunk has a classifier of its own, which gives the logits.
        num_classes: classes.
        label_smoothing: share of the target that is spread evenly over all classes (Szegedy 2016, "Rethinking the
            Inception architecture", section 7).
        auxiliary_weight: factor of the losses of auxiliary classifiers (Szegedy 2015, section 5, "Going deeper with
            convolutions").
        dropout: probability of leaving out a channel before the linear layer.
        answers: most classes in an answer.
    """

    def __init__(
        self,
        in_channels: int | None,
        num_classes: int,
        label_smoothing: float = 0.0,
        auxiliary_weight: float = 0.3,
        dropout: float = 0.0,
        answers: int = 5,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.label_smoothing, self.auxiliary_weight = label_smoothing, auxiliary_weight
        self.answers = min(answers, num_classes)
        self.dropout = nn.Dropout(dropout)
        self.classes = nn.Linear(in_channels, num_classes) if in_channels is not None else None

    def forward(self, features: Tensor | tuple[Tensor, ...], context: Context) -> ClassificationOutput:
        """Classify a map ``(B, C, H, W)``; or pass on logits, the main classifier's first."""
        if self.classes is not None:
            return ClassificationOutput(self.classes(self.dropout(features.mean(dim=(2, 3)))))
        if isinstance(features, Tensor):
            return ClassificationOutput(features)
        return ClassificationOutput(features[0], tuple(features[1:]))

    def losses(self, raw: ClassificationOutput, context: Context) -> dict[str, Tensor]:
        """``cls``: cross-entropy, mean over labeled images, with the weighted ones of auxiliary classifiers added."""
        labels = image_labels(context.truth, self.num_classes, raw.logits.device)
        if all(target.image_label is None for target in context.truth):
            return {"cls": sum(logits.float().sum() for logits in (raw.logits, *raw.auxiliary)) * 0}
        loss = self._cross_entropy(raw.logits, labels)
        for logits in raw.auxiliary:
            loss = loss + self.auxiliary_weight * self._cross_entropy(logits, labels)
        return {"cls": loss}

    @torch.no_grad()
    def decode(self, raw: ClassificationOutput, context: Context) -> list[Classification]:
        """The likeliest classes of each image."""
        scores, labels = raw.logits.float().softmax(dim=1).topk(self.answers)
        return [Classification(score, label) for score, label in zip(scores, labels, strict=True)]

    def candidates(self, raw: ClassificationOutput, context: Context) -> Candidates:
        """Each image as a whole."""
        boxes = windows(context.batch.sizes, raw.logits.device)[:, None]
        return in_turn(boxes, raw.logits[:, None], activation=softmax_scores)

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits.float(), labels, ignore_index=UNLABELED, label_smoothing=self.label_smoothing)
