"""The class of the whole image, and where its object is: one box."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.boxes import EdgeCoder, clip_boxes
from detkit.heads.classification import ClassificationHead, ClassificationOutput
from detkit.heads.image_head import ImageHead, image_labels
from detkit.structures import Detections, Target


class LocalizationOutput(NamedTuple):
    """What the head says.

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

    The box is regressed from the map's parts, not from their mean, which does not tell where anything is. Of several
    objects of the image's class the largest is learned.

    Args:
        in_channels: channels of the map.
        num_classes: classes.
        grid: parts of the map along each side.
        hidden: width of the box regressor's hidden layer.
        class_agnostic: one box for all classes instead of one for each.
        box_loss: ``l2``, half the squared distance of the encoded edges, as OverFeat's; or ``smooth_l1``.
        label_smoothing: as of `ClassificationHead`.
        answers: most boxes in an answer, of the likeliest classes; ILSVRC's localization error judges five.
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
            nn.Unflatten(1, (boxes, 4)),
        )
        self.num_classes, self.class_agnostic = num_classes, class_agnostic
        self.box_loss = F.mse_loss if box_loss == "l2" else F.smooth_l1_loss
        self.box_loss_factor = 0.5 if box_loss == "l2" else 1.0
        self.coder = EdgeCoder()

    def forward(self, features: Tensor) -> LocalizationOutput:
        """Classify a map ``(B, C, H, W)`` and regress the box."""
        return LocalizationOutput(self.classification(features).logits, self.edges(features))

    def losses(
        self, raw: LocalizationOutput, targets: Sequence[Target], image_sizes: Sequence[tuple[int, int]]
    ) -> dict[str, Tensor]:
        """The losses of the class, of all images, and of the box, of those that have an object of their class.

        Returns:
            ``localization_cls``, cross-entropy, mean over images; ``localization_box``, the distance of the encoded
            edges summed over the four, mean over images: what one process learns of two halves, two learn of each one.
        """
        losses = self.classification.losses(ClassificationOutput(raw.logits), targets, image_sizes)
        boxes, exist = largest_objects(targets)
        device = raw.edges.device
        boxes, exist = boxes.to(device), exist.to(device)
        labels = image_labels(targets, self.num_classes, device) if not self.class_agnostic else torch.zeros_like(exist)
        edges = raw.edges.float().take_along_dim(labels.long()[:, None, None], dim=1)[:, 0]
        wanted = self.coder.encode(_windows(image_sizes, device), boxes)
        distances = self.box_loss(edges, wanted, reduction="none").sum(dim=1) * self.box_loss_factor
        return {"localization_cls": losses["cls"], "localization_box": (distances * exist).mean()}

    @torch.no_grad()
    def decode(self, raw: LocalizationOutput, image_sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        """A box for each of the likeliest classes of each image; the first is the answer."""
        found = self.classification.decode(ClassificationOutput(raw.logits), image_sizes)
        windows = _windows(image_sizes, raw.edges.device)
        boxes = self.coder.decode(windows[:, None], raw.edges)
        answers = []
        for of_image, classes, size in zip(boxes, found, image_sizes, strict=True):
            chosen = of_image.expand(len(classes), 4) if self.class_agnostic else of_image[classes.labels]
            low, high = chosen[:, :2].minimum(chosen[:, 2:]), chosen[:, :2].maximum(chosen[:, 2:])
            ordered = clip_boxes(torch.cat((low, high), dim=1), size)
            answers.append(Detections(ordered, classes.scores, classes.labels))
        return answers


def largest_objects(targets: Sequence[Target]) -> tuple[Tensor, Tensor]:
    """The largest box of each image's class, crowds left out ``(B, 4)``, and whether there is one ``(B,)``."""
    boxes, exist = [], []
    for target in targets:
        if len(target) == 0:
            boxes.append(target.boxes.new_zeros(4))
            exist.append(torch.zeros((), dtype=torch.bool, device=target.boxes.device))
            continue
        counts = target.labels == target.image_label
        if target.iscrowd is not None:
            counts = counts & ~target.iscrowd
        areas = (target.boxes[:, 2:] - target.boxes[:, :2]).prod(dim=1).where(counts, -1.0)
        # Selected on the device: an index that the CPU had to know would make it wait.
        boxes.append(target.boxes.index_select(0, areas.argmax(dim=0, keepdim=True))[0])
        exist.append(counts.any())
    return torch.stack(boxes), torch.stack(exist)


def _windows(image_sizes: Sequence[tuple[int, int]], device: torch.device) -> Tensor:
    """The images as boxes ``(B, 4)``."""
    rows = [(0.0, 0.0, float(width), float(height)) for height, width in image_sizes]
    return torch.tensor(rows).to(device, non_blocking=True)
