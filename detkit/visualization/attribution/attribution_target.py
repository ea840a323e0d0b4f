"""What is looked at: a class of the whole image, or an object that a detector has found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from detkit.geometry import Placement
from detkit.heads import Regions
from detkit.models import RCNN, Classifier, Detector
from detkit.ops import box_iou
from detkit.preprocess import Batch, Preprocess
from detkit.structures import Detections
from detkit.visualization.attribution.named_layers import evaluating

SAME_OBJECT = 0.5  # the IoU from which on a detection in a changed image is of the same object


class Subject(Protocol):
    """Something that a network says of an image.

    Attributes:
        network: what says it.
        preprocess: makes the network's input of images.
        trunk: the name of the part of `network` whose layers are looked at; empty for all of it.
    """

    network: nn.Module
    preprocess: Preprocess
    trunk: str

    def prepare(self, image: Tensor) -> Batch:
        """What the trunk is to see of `image` ``(3, H, W)``."""
        ...

    def forward(self, images: Tensor) -> object:
        """Run the trunk on what `prepare` makes, ``(1, 3, H, W)``."""
        ...

    def scores(self, images: Tensor) -> Tensor:
        """How sure the network is, ``(B,)`` in [0, 1], in each of the `images` ``(B, 3, H, W)`` in [0, 1]."""
        ...

    def objective(self, image: Tensor) -> Tensor:
        """The scalar whose gradient tells where the network looks in `image` ``(3, H, W)``."""
        ...


class ImageClass:
    """A class of a classifier.

    Args:
        classifier: says of an image what it is.
        label: the class.
    """

    trunk = ""

    def __init__(self, classifier: Classifier, label: int) -> None:
        self.classifier = classifier
        self.network = classifier.net
        self.preprocess = classifier.preprocess
        self.label = label

    def prepare(self, image: Tensor) -> Batch:
        """The preprocessed image."""
        return self.preprocess([image])

    def forward(self, images: Tensor) -> object:
        """Run the net without the head."""
        return self.network(images)

    def scores(self, images: Tensor) -> Tensor:
        """The class's probability."""
        with torch.inference_mode():
            return self._logits(images).softmax(dim=1)[:, self.label]

    def objective(self, image: Tensor) -> Tensor:
        """The class's logit."""
        return self._logits([image])[0, self.label]

    def _logits(self, images: Sequence[Tensor]) -> Tensor:
        with evaluating(self.classifier):
            return self.classifier.raw(self.preprocess(list(images)).images).logits.float()


class FoundObject:
    """An object that a detector has found.

    Args:
        detector: any detector.
        box: ``(4,)`` of the detection, in pixels of the image.
        label: its class.
    """

    trunk = "backbone"

    def __init__(self, detector: Detector, box: Tensor, label: int) -> None:
        self.network = detector
        self.preprocess = detector.preprocess
        self.box = box
        self.label = label

    def prepare(self, image: Tensor) -> Batch:
        """The preprocessed image."""
        return self.preprocess([image])

    def forward(self, images: Tensor) -> object:
        """Trunk, neck and dense heads."""
        return self.network.raw(images)

    def scores(self, images: Tensor) -> Tensor:
        """The best score of a detection of the same class with an IoU of at least 0.5, 0 where there is none."""
        with torch.inference_mode(), evaluating(self.network):
            return torch.stack([self._score(found) for found in self.network.detect(list(images))])

    def objective(self, image: Tensor) -> Tensor:
        """The detection's score."""
        with evaluating(self.network):
            return self._score(self.network.detect([image])[0])

    def _score(self, found: Detections) -> Tensor:
        same = found.labels == self.label
        same &= box_iou(found.boxes.detach(), self.box.to(found.boxes)[None])[:, 0] >= SAME_OBJECT
        return torch.cat((found.scores[same], found.scores.new_zeros(1))).max()


class WarpedRegion(FoundObject):
    """An object that an R-CNN has found, whose trunk sees nothing but the warped box of it.

    Args:
        detector: an R-CNN.
        box: ``(4,)`` of the detection, in pixels of the image.
        label: its class.
    """

    trunk = "box_head.trunk.backbone"
    network: RCNN

    def prepare(self, image: Tensor) -> Batch:
        """The pixels of the box, warped."""
        batch = self.preprocess([image])
        crop = self.network.crops([batch.images])(Regions.of_images([self.box.to(batch.images)[None]]))
        return Batch(crop, [Placement.identity((crop.shape[-2], crop.shape[-1]))])

    def forward(self, images: Tensor) -> Tensor:
        """The vectors of the crops."""
        return self.network.box_head.trunk(images)

    def objective(self, image: Tensor) -> Tensor:
        """The logit of the class, or the margin of its SVM, for the crop."""
        with evaluating(self.network):
            vectors = self.forward(self.prepare(image).images)
            return self.network.box_head.answer(vectors).logits[0, self.label]


def found_object(detector: Detector, box: Tensor, label: int) -> FoundObject:
    """The subject for a detection of any detector."""
    return (WarpedRegion if isinstance(detector, RCNN) else FoundObject)(detector, box, label)
