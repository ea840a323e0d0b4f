"""The localization head: the class of the whole image and one box for its object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.boxes import EdgeCoder
from detkit.heads.activations import softmax_scores
from detkit.heads.assignment import NOT_LEARNED
from detkit.heads.class_rows import ClassRows
from detkit.heads.context import Candidates, Context
from detkit.heads.dense.dense_head import batch_candidates
from detkit.heads.image.classification import ClassificationHead, ClassificationOutput
from detkit.heads.image.image_head import ImageHead, image_labels, largest_objects, windows
from detkit.heads.scored_boxes import PaddedBoxes
from detkit.structures import Detections


class LocalizationOutput(NamedTuple):
    """The outputs of the head.

    Args:
        logits: class logits ``(B, K)``.
        edges: encoded box edges ``(B, K, 4)``, or ``(B, 1, 4)`` of a box for all classes.
    """

    logits: Tensor
    edges: Tensor


class LocalizationHead(ImageHead):
    """One class and one box of four numbers for each image (ILSVRC's task; Sermanet 2013, section 4).

        map -+-> mean over cells -> linear -> K class logits
             +-> mean over a grid of parts -> linear -> ReLU -> linear -> K boxes, as the edges of the image

    The box is regressed from a grid of parts of the map, as their mean has no position. Of several objects of the
    image's class the largest is learned.

    Args:
        in_channels: channels of the map.
        num_classes: classes.
        grid: parts of the map along each side.
        hidden: width of the box regressor's hidden layer.
        class_agnostic: one box for all classes instead of one for each.
        box_loss: ``l2``, half the squared distance of the encoded edges, as OverFeat's; or ``smooth_l1``.
        label_smoothing: as of `ClassificationHead`.
        answers: most boxes of an image, one for each of the top classes; ILSVRC's localization error evaluates five.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        grid: int = 4,
        hidden: int = 512,
        class_agnostic: bool = False,
        box_loss: Literal["l2", "smooth_l1"] = "smooth_l1",
        label_smoothing: float = 0.0,
        answers: int = 5,
    ) -> None:
        super().__init__()
        self.classification = ClassificationHead(in_channels, num_classes, label_smoothing, answers=answers)
        boxes = 1 if class_agnostic else num_classes
        self.edges = nn.Sequential(
            nn.AdaptiveAvgPool2d(grid),
            nn.Flatten(),
            nn.Linear(in_channels * grid**2, hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, boxes * 4),
            nn.Unflatten(1, (-1, 4)),
        )
        self.num_classes, self.class_agnostic = num_classes, class_agnostic
        self.box_loss = F.mse_loss if box_loss == "l2" else F.smooth_l1_loss
        self.box_loss_factor = 0.5 if box_loss == "l2" else 1.0
        self.coder = EdgeCoder()

    def class_rows(self) -> Mapping[str, ClassRows]:
        """The box of each class, unless one serves all; the classifier names its own."""
        return {} if self.class_agnostic else {"edges.4": ClassRows(nn.Linear.reset_parameters, values=4)}

    def forward(self, features: Tensor, context: Context) -> LocalizationOutput:
        """Classify a map ``(B, C, H, W)`` and regress the box."""
        return LocalizationOutput(self.classification(features, context).logits, self.edges(features))

    def losses(self, raw: LocalizationOutput, context: Context) -> dict[str, Tensor]:
        """The losses of the class, of all labeled images, and of the box, of those that have an object of their class.

        Returns:
            ``localization_cls``, cross-entropy, mean over images; ``localization_box``, the distance of the encoded
            edges summed over the four, mean over images, whether or not they have an object of their class.
        """
        targets, device = context.truth, raw.edges.device
        losses = self.classification.losses(ClassificationOutput(raw.logits), context)
        boxes, rows = largest_objects(targets, device)
        edges = self._of_labels(raw, image_labels(targets, self.num_classes, device).clamp(min=0))
        encoded = self.coder.encode(windows(context.batch.sizes, device), boxes)
        distances = self.box_loss(edges.float(), encoded, reduction="none").sum(dim=1) * self.box_loss_factor
        learned = (rows != NOT_LEARNED).sum().clamp(min=1)
        return {"localization_cls": losses["cls"], "localization_box": (distances * (rows >= 0)).sum() / learned}

    def candidates(self, raw: LocalizationOutput, context: Context) -> Candidates:
        """The box of each image's top class."""
        device = raw.edges.device
        boxes = self.coder.decode(windows(context.batch.sizes, device), self._of_labels(raw, raw.logits.argmax(dim=1)))
        return batch_candidates(boxes[:, None], raw.logits[:, None], activation=softmax_scores)

    def _of_labels(self, raw: LocalizationOutput, labels: Tensor) -> Tensor:
        """The edges ``(B, 4)`` for `labels` ``(B,)``."""
        of_class = torch.zeros_like(labels) if self.class_agnostic else labels
        return raw.edges.take_along_dim(of_class[:, None, None], dim=1)[:, 0]

    @torch.no_grad()
    def ideal(self, raw: LocalizationOutput, context: Context) -> LocalizationOutput:
        """The class of each image and the box of its object; see `DenseHead.ideal`."""
        logits = self.classification.ideal(ClassificationOutput(raw.logits), context).logits
        boxes, rows = largest_objects(context.truth, raw.edges.device)
        image, edges = torch.where(rows >= 0)[0], raw.edges.new_zeros(raw.edges.shape)
        encoded = self.coder.encode(windows(context.batch.sizes, boxes.device), boxes)[image].to(edges)
        edges[image, 0 if self.class_agnostic else logits.argmax(dim=1)[image]] = encoded
        return LocalizationOutput(logits, edges)

    @torch.no_grad()
    def decode(self, raw: LocalizationOutput, context: Context) -> list[Detections]:
        """A box for each of the top classes of each image, the best first."""
        boxes, scores, labels, _ = self.decode_padded(raw, context)
        return context.batch.restore([Detections(*own) for own in zip(boxes, scores, labels, strict=True)])

    @torch.no_grad()
    def decode_padded(self, raw: LocalizationOutput, context: Context) -> PaddedBoxes:
        """As `decode`, in the network's frame."""
        scores, labels = self.classification.top_classes(ClassificationOutput(raw.logits))
        limits = windows(context.batch.sizes, raw.edges.device)
        boxes = self.coder.decode(limits[:, None], raw.edges)
        of_class = torch.zeros_like(labels) if self.class_agnostic else labels
        selected = boxes.gather(1, of_class[..., None].expand(-1, -1, 4))
        corners = torch.unflatten(selected, 2, (2, 2))
        ordered = torch.stack((corners.amin(dim=2), corners.amax(dim=2)), dim=2)
        clipped = ordered.clamp(min=0).minimum(limits[:, None, None, 2:]).flatten(2)
        return PaddedBoxes(clipped, scores, labels, torch.full_like(labels[:, 0], labels.shape[1]))
