"""The classification head: the class of the whole image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.errors import InputError
from detkit.heads.activations import softmax_scores
from detkit.heads.assignment import CERTAIN
from detkit.heads.class_rows import ClassRows
from detkit.heads.context import Candidates, Context
from detkit.heads.dense.dense_head import batch_candidates
from detkit.heads.image.image_head import UNLABELED, ImageHead, image_labels, windows
from detkit.structures import Classification


class ClassificationOutput(NamedTuple):
    """The outputs of the head.

    Args:
        logits: class logits ``(B, K)``.
        auxiliary: class logits ``(B, K)`` of each auxiliary classifier of the backbone, in training.
    """

    logits: Tensor
    auxiliary: tuple[Tensor, ...] = ()


class ClassProbabilities(NamedTuple):
    """The answers for a batch.

    Args:
        probabilities: of each class ``(B, K)``.
    """

    probabilities: Tensor

    def outputs(self) -> dict[str, Tensor]:
        """The tensor by its name in an exported graph."""
        return {"probabilities": self.probabilities}


class ClassificationHead(ImageHead):
    """A softmax over the logits of a linear layer on the pooled map, or over those of a net with its own classifier.

        map -> mean over cells -> dropout -> linear -> K class logits
        logits, and those of auxiliary classifiers ->

    Args:
        in_channels: channels of the map; None for a backbone with its own classifier, which gives the logits.
        num_classes: classes.
        label_smoothing: share of the target that is spread evenly over all classes (Szegedy 2016, "Rethinking the
            Inception architecture", section 7).
        auxiliary_weight: factor of the losses of auxiliary classifiers (Szegedy 2015, section 5, "Going deeper with
            convolutions").
        dropout: probability of leaving out a channel before the linear layer.
        answers: most classes in a `Classification`.
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
        self.answers = answers
        self.dropout = nn.Dropout(dropout)
        self.classes = nn.Linear(in_channels, num_classes) if in_channels is not None else None

    def class_rows(self) -> Mapping[str, ClassRows]:
        """The logits of the linear layer, if the head has it."""
        return {} if self.classes is None else {"classes": ClassRows(nn.Linear.reset_parameters)}

    def forward(self, features: Tensor | tuple[Tensor, ...], context: Context) -> ClassificationOutput:
        """Classify a map ``(B, C, H, W)``; or pass on logits, the main classifier's first.

        Raises:
            InputError: the head classifies a map but got several tensors.
        """
        if isinstance(features, Tensor):
            if self.classes is None:
                return ClassificationOutput(features)
            return ClassificationOutput(self.classes(self.dropout(features.mean(dim=(2, 3)))))
        if self.classes is not None:
            raise InputError("a ClassificationHead with in_channels takes one map (B, C, H, W), got several tensors")
        return ClassificationOutput(features[0], tuple(features[1:]))

    def losses(self, raw: ClassificationOutput, context: Context) -> dict[str, Tensor]:
        """``cls``: cross-entropy, mean over labeled images, with the weighted ones of auxiliary classifiers added."""
        labels = image_labels(context.truth, self.num_classes, raw.logits.device)
        if all(target.image_label is None for target in context.truth):
            sums = [logits.float().sum() for logits in (raw.logits, *raw.auxiliary)]
            return {"cls": torch.stack(sums).sum() * 0}
        loss = self._cross_entropy(raw.logits, labels)
        for logits in raw.auxiliary:
            loss = loss + self.auxiliary_weight * self._cross_entropy(logits, labels)
        return {"cls": loss}

    @torch.no_grad()
    def decode(self, raw: ClassificationOutput, context: Context) -> list[Classification]:
        """The top classes of each image."""
        scores, labels = self.top_classes(raw)
        return [Classification(score, label) for score, label in zip(scores, labels, strict=True)]

    @torch.no_grad()
    def decode_padded(self, raw: ClassificationOutput, context: Context) -> ClassProbabilities:
        """The probability of each class of each image."""
        return ClassProbabilities(raw.logits.float().softmax(dim=1))

    def top_classes(self, raw: ClassificationOutput) -> tuple[Tensor, Tensor]:
        """The scores and the labels of the top classes of each image, both ``(B, answers)``."""
        scores, labels = raw.logits.float().softmax(dim=1).topk(min(self.answers, self.num_classes))
        return scores, labels

    def candidates(self, raw: ClassificationOutput, context: Context) -> Candidates:
        """One candidate for each image, whose box is the whole image."""
        boxes = windows(context.batch.sizes, raw.logits.device)[:, None]
        return batch_candidates(boxes, raw.logits[:, None], activation=softmax_scores)

    def ideal(self, raw: ClassificationOutput, context: Context) -> ClassificationOutput:
        """The class of each image; see `DenseHead.ideal`."""
        labels = image_labels(context.truth, self.num_classes, raw.logits.device)
        image = torch.where(labels != UNLABELED)[0]
        logits = raw.logits.new_full(raw.logits.shape, -CERTAIN)
        logits[image, labels[image]] = CERTAIN
        return ClassificationOutput(logits)

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits.float(), labels, ignore_index=UNLABELED, label_smoothing=self.label_smoothing)
