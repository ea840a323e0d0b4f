"""R-CNN's last step: linear SVMs and box regressors on the vectors of the trained network (Girshick 2014)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.heads import Regions, SVMBoxHead
from detkit.models import RCNN
from detkit.ops import box_iou
from detkit.structures import Target

# Section 2.3, appendix B and C, and what the authors' code adds to them.
_TARGET_NORM = 20.0
_BACKGROUND_IOU = 0.3
_REGRESSION_IOU = 0.6
_REGULARIZATION = 1e-3
_POSITIVE_WEIGHT = 2.0
_BIAS_SCALE = 10.0
_RIDGE = 1000.0
_HARD_MARGIN, _EASY_MARGIN = -1.0, -1.2
_NEGATIVES_BETWEEN_FITS = 2000

Samples = Callable[[], Iterable[tuple[Tensor, Target]]]


@torch.no_grad()
def fit_svms(model: RCNN, samples: Samples) -> None:
    """Replace the softmax and the regression of a trained R-CNN by SVMs and ridge regression, in place.

    The SVM of a class learns its objects' own boxes against regions of IoU < 0.3 with all of them, in one pass over
    the images with hard negative mining: regions that score above -1 join, those that fall below -1.2 leave, and the
    SVM is fitted again after every 2,000 new ones. Ridge regression (lambda 1000) learns to correct regions of IoU >
    0.6. Both take the vector of the network's last layer, scaled to a mean norm of 20.

    Args:
        model: trained, with an `SVMBoxHead`.
        samples: called for each pass, gives images ``(3, H, W)`` and their targets.

    Raises:
        InputError: the model has no `SVMBoxHead`, scikit-learn is not installed, there are no objects at all, or the
            model needs proposals and they are not given with an image.
    """
    head = model.box_head
    if not isinstance(head, SVMBoxHead):
        raise InputError(f"fit_svms needs an R-CNN with an SVMBoxHead, got a {type(head).__name__}")
    if find_spec("sklearn") is None:  # before the pass over all images that the SVMs are fitted to
        raise InputError("fit_svms needs scikit-learn, which is not installed: pip install 'detkit[rcnn]'")
    model.eval()
    scale = _TARGET_NORM / _mean_norm(model, samples)
    classes = [_Class(head.trunk.out_channels) for _ in range(head.num_classes)]
    for image, target in samples():
        boxes, vectors = _regions(model, image, target, scale)
        object_boxes, labels = _objects(target)
        for label, one in enumerate(classes):
            of_class = labels == label
            one.add(boxes, vectors, object_boxes[of_class], vectors[torch.where(of_class)[0].numpy()])
    if not any(one.positives for one in classes):
        raise InputError("fit_svms found no objects in the data")
    for label, one in enumerate(classes):
        one.fit()
        _put(head, label, one, scale)
    head.get_buffer("fitted").fill_(True)


@dataclass
class _Class:
    """The samples and the SVM of one class, for vectors of length D."""

    length: int
    positives: list[np.ndarray] = field(default_factory=list)
    negatives: np.ndarray = field(init=False)
    weight: np.ndarray = field(init=False)
    bias: float = 0.0
    regression_inputs: list[np.ndarray] = field(default_factory=list)
    regression_targets: list[np.ndarray] = field(default_factory=list)
    new: int = 0

    def __post_init__(self) -> None:
        self.negatives = np.zeros((0, self.length), np.float32)
        self.weight = np.zeros(self.length)

    def add(self, boxes: Tensor, vectors: np.ndarray, objects: Tensor, positives: np.ndarray) -> None:
        """Collect the training samples of one image."""
        if len(positives):
            self.positives.append(positives)
        iou = box_iou(objects, boxes) if len(objects) else torch.zeros(1, len(boxes))
        best, matched = iou.max(dim=0)
        if len(objects):
            close = best > _REGRESSION_IOU
            self.regression_inputs.append(vectors[close.numpy()])
            self.regression_targets.append(_encode(boxes[close], objects[matched[close]]))
        candidates = vectors[(best < _BACKGROUND_IOU).numpy()]
        hard = candidates[candidates @ self.weight + self.bias > _HARD_MARGIN]
        self.negatives = np.concatenate((self.negatives, hard))
        self.new += len(hard)
        if self.new > _NEGATIVES_BETWEEN_FITS:
            self.fit()

    def fit(self) -> None:
        """Fit the SVM, and forget the negatives that have become easy."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.svm import LinearSVC

        self.new = 0
        if not self.positives or not len(self.negatives):
            return
        positives = np.concatenate(self.positives)
        svm = LinearSVC(
            C=_REGULARIZATION,
            loss="hinge",
            class_weight={1: _POSITIVE_WEIGHT},
            intercept_scaling=_BIAS_SCALE,
            max_iter=5000,
            random_state=0,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            svm.fit(
                np.concatenate((positives, self.negatives)),
                np.concatenate((np.ones(len(positives)), np.zeros(len(self.negatives)))),
            )
        self.weight, self.bias = svm.coef_[0], float(svm.intercept_[0])
        self.negatives = self.negatives[self.negatives @ self.weight + self.bias > _EASY_MARGIN]

    def regression(self) -> tuple[np.ndarray, np.ndarray]:
        """Weights ``(4, D)`` and biases ``(4,)`` of ridge regression (appendix C, equation 5)."""
        if not sum(map(len, self.regression_inputs)):
            return np.zeros((4, self.length)), np.zeros(4)
        inputs = np.concatenate(self.regression_inputs).astype(np.float64)
        targets = np.concatenate(self.regression_targets).astype(np.float64)
        mean = targets.mean(axis=0)
        gram = inputs.T @ inputs + _RIDGE * np.eye(self.length)
        return np.linalg.solve(gram, inputs.T @ (targets - mean)).T, mean


def _objects(target: Target) -> tuple[Tensor, Tensor]:
    """Boxes ``(N, 4)`` and labels ``(N,)`` of the objects, none where they are not annotated."""
    objects = target.objects()
    boxes = torch.zeros(0, 4) if objects.boxes is None else objects.boxes
    labels = torch.zeros(len(boxes), dtype=torch.int64) if objects.labels is None else objects.labels
    return boxes, labels


def _encode(boxes: Tensor, objects: Tensor) -> np.ndarray:
    from detkit.boxes import DeltaCoder

    return DeltaCoder().encode(boxes, objects).numpy()


def _mean_norm(model: RCNN, samples: Samples, images: int = 200) -> float:
    norms = []
    for index, (image, target) in enumerate(samples()):
        if index == images:
            break
        norms.append(np.linalg.norm(_regions(model, image, target, 1.0)[1], axis=1))
    total = np.concatenate(norms) if norms else np.zeros(0)
    if not total.size or not total.mean() > 0:
        raise InputError("fit_svms: the data has no regions, or the network's vectors of them are all zero")
    return float(total.mean())


def _regions(model: RCNN, image: Tensor, target: Target, scale: float) -> tuple[Tensor, np.ndarray]:
    """Boxes ``(R, 4)``, the objects' own first, in pixels of `image`, and their scaled vectors ``(R, D)``."""
    object_boxes = _objects(target)[0].cpu()
    boxes = torch.cat((object_boxes, _proposals(model, image, target)))
    ignored = target.ignored_boxes().cpu()
    if len(ignored):
        outside = box_iou(boxes, ignored).amax(dim=1) < _BACKGROUND_IOU
        outside[: len(object_boxes)] = True
        boxes = boxes[outside]
    batch = model.preprocess([image])
    in_input = model.preprocess.targets([Target(proposals=boxes)], batch)[0].proposals
    vectors = model.region_vectors(model.features(batch), Regions.of_images([in_input]))
    return boxes, vectors.float().cpu().numpy() * scale


def _proposals(model: RCNN, image: Tensor, target: Target) -> Tensor:
    """The region proposals ``(P, 4)``: computed by the model, or given with the image."""
    if model.proposals is not None:
        return model.proposals(image)
    if target.proposals is None:
        raise InputError(f"fit_svms: the model has no proposals, and image id {target.image_id} comes without them")
    return target.proposals.cpu()


def _put(head: SVMBoxHead, label: int, one: _Class, scale: float) -> None:
    """Write the SVM and the regression of a class into the last layers of `head`."""
    # A class without samples never scores: its margin is far below zero.
    bias = one.bias if one.positives else -20.0
    head.classes.weight[label] = torch.from_numpy(one.weight * scale)
    head.classes.bias[label] = bias
    weight, mean = one.regression()
    stretch = np.array(head.coder.weights)
    rows = slice(4 * label, 4 * label + 4)
    head.deltas.weight[rows] = torch.from_numpy(weight * scale * stretch[:, None]).to(head.deltas.weight)
    head.deltas.bias[rows] = torch.from_numpy(mean * stretch).to(head.deltas.bias)
