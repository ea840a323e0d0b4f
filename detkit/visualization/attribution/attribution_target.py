"""The outputs that an attribution explains: a class of the image, or a detection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from detkit.deprecation import warn
from detkit.geometry import Placement
from detkit.heads import Regions
from detkit.models import RCNN, Classifier, Detector
from detkit.ops import box_iou
from detkit.preprocess import Batch, Preprocess
from detkit.structures import Detections, Target
from detkit.visualization.attribution.named_layers import eval_mode

SAME_OBJECT = 0.5  # the IoU from which on a detection in a changed image is of the same object


class AttributionTarget(Protocol):
    """An output of a network for an image.

    Attributes:
        network: that gives the output.
        preprocess: converts images to the network's input.
        backbone: the name of the part of `network` whose layers are inspected; empty for all of it.
    """

    @property
    def network(self) -> nn.Module: ...

    @property
    def preprocess(self) -> Preprocess: ...

    @property
    def backbone(self) -> str: ...

    def prepare(self, image: Tensor) -> Batch:
        """The input of the backbone for `image` ``(3, H, W)``."""
        ...

    def forward(self, images: Tensor) -> object:
        """Run the backbone on the output of `prepare`, ``(1, 3, H, W)``."""
        ...

    def scores(self, images: Tensor) -> Tensor:
        """The score ``(B,)`` in [0, 1] in each of the `images` ``(B, 3, H, W)`` in [0, 1]."""
        ...

    def objective(self, image: Tensor) -> Tensor:
        """The scalar to differentiate for `image` ``(3, H, W)``."""
        ...


class ClassTarget:
    """The score of a class of a classifier.

    Args:
        classifier: the network.
        label: the class.
    """

    backbone = ""

    def __init__(self, classifier: Classifier, label: int) -> None:
        self.classifier = classifier
        self.network = classifier.get_submodule("net")
        self.preprocess = classifier.preprocess
        self.label = label

    @property
    def trunk(self) -> str:
        """The old name of `backbone`."""
        warn(f"{type(self).__name__}.trunk is {type(self).__name__}.backbone now")
        return self.backbone

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

    def _logits(self, images: Sequence[Tensor] | Tensor) -> Tensor:
        with eval_mode(self.classifier):
            return self.classifier.raw(self.preprocess(list(images)).images).logits.float()


class DetectionTarget:
    """The score of a detection.

    Args:
        detector: any detector.
        box: ``(4,)`` of the detection, in pixels of the image.
        label: its class.
        given: what the detector asks for with an image, such as its camera.
    """

    backbone = "backbone"
    network: Detector

    def __init__(self, detector: Detector, box: Tensor, label: int, given: Target | None = None) -> None:
        self.network = detector
        self.preprocess = detector.preprocess
        self.box = box
        self.label = label
        self.given = given

    @property
    def trunk(self) -> str:
        """The old name of `backbone`."""
        warn(f"{type(self).__name__}.trunk is {type(self).__name__}.backbone now")
        return self.backbone

    def prepare(self, image: Tensor) -> Batch:
        """The preprocessed image."""
        return self.preprocess([image])

    def forward(self, images: Tensor) -> object:
        """Run backbone, neck and dense heads."""
        return self.network.raw(images)

    def scores(self, images: Tensor) -> Tensor:
        """The best score of a detection of the same class with an IoU of at least 0.5, 0 where there is none."""
        with torch.inference_mode(), eval_mode(self.network):
            return torch.stack([self._score(detections) for detections in self._detect(list(images))])

    def objective(self, image: Tensor) -> Tensor:
        """The detection's score."""
        with eval_mode(self.network):
            return self._score(self._detect([image])[0])

    def _detect(self, images: list[Tensor]) -> Sequence[Any]:
        if self.given is None:
            return self.network.detect(images)
        return self.network.detect(images, [self.given] * len(images))

    def _score(self, detections: Detections) -> Tensor:
        same = detections.labels == self.label
        same &= box_iou(detections.boxes.detach(), self.box.to(detections.boxes)[None])[:, 0] >= SAME_OBJECT
        return torch.cat((detections.scores[same], detections.scores.new_zeros(1))).max()


class WarpedRegionTarget(DetectionTarget):
    """The score of an R-CNN's detection; the backbone's input is its warped box alone.

    Args:
        detector: an R-CNN.
        box: ``(4,)`` of the detection, in pixels of the image.
        label: its class.
    """

    backbone = "box_head.trunk.backbone"
    network: RCNN

    def prepare(self, image: Tensor) -> Batch:
        """The pixels of the box, warped."""
        batch = self.preprocess([image])
        crop = self.network.crops([batch.images])(Regions.of_images([self.box.to(batch.images)[None]]))
        return Batch(crop, [Placement.identity((crop.shape[-2], crop.shape[-1]))])

    def forward(self, images: Tensor) -> Tensor:
        """The feature vectors of the crops."""
        head: Any = self.network.box_head
        return head.trunk(images)

    def objective(self, image: Tensor) -> Tensor:
        """The logit of the class, or the margin of its SVM, for the crop."""
        with eval_mode(self.network):
            vectors = self.forward(self.prepare(image).images)
            head: Any = self.network.box_head
            return head.answer(vectors).logits[0, self.label]


def detection_target(detector: Detector, box: Tensor, label: int, given: Target | None = None) -> DetectionTarget:
    """The attribution target for a detection of any detector; see `DetectionTarget`."""
    return (WarpedRegionTarget if isinstance(detector, RCNN) else DetectionTarget)(detector, box, label, given)
