"""Fitting R-CNN's SVMs on vectors that are simple to see through."""

from functools import partial

import numpy as np
import pytest
import torch

from detkit.backbones import Backbone
from detkit.boxes import DeltaCoder
from detkit.engine import svm
from detkit.errors import InputError
from detkit.heads import AveragePool, BoxHead, Regions
from detkit.models import RCNN, RegionWarp
from detkit.proposals import Proposals
from detkit.structures import Target

pytest.importorskip("sklearn", reason="R-CNN's SVMs need scikit-learn: pip install detkit[rcnn]")


class Cells(Backbone):
    """A 4 x 4 map of the mean colors, and their squares."""

    def __init__(self):
        super().__init__()
        self.channels, self.strides = [6], [8]

    def forward(self, images):
        colors = torch.nn.functional.avg_pool2d(images, 8)
        return [torch.cat((colors, colors**2), dim=1)]


class Grid(Proposals):
    """Boxes of 24 pixels, every 6 pixels."""

    identity = "grid"

    def __call__(self, image):
        height, width = image.shape[1:]
        corners = [[x, y, x + 24, y + 24] for y in range(0, height - 23, 6) for x in range(0, width - 23, 6)]
        return torch.tensor(corners, dtype=torch.float32)


def _samples(count=12):
    """Red squares of class 0 and green ones of class 1 on gray; class 2 is never there."""
    random = np.random.default_rng(0)
    for _ in range(count):
        image = torch.full((3, 80, 96), 0.4) + 0.02 * torch.from_numpy(random.normal(size=(3, 80, 96))).float()
        boxes = []
        for label, column in enumerate((0, 48)):
            x, y = column + int(random.integers(0, 22)), int(random.integers(0, 54))
            image[:, y : y + 26, x : x + 26] = torch.eye(3)[label][:, None, None]
            boxes.append([x, y, x + 26, y + 26])
        yield image.clamp(0, 1), Target(torch.tensor(boxes, dtype=torch.float32), torch.tensor([0, 1]))


def _model(**options):
    torch.manual_seed(0)
    pool = RegionWarp(32, 0)
    return RCNN(Cells(), 3, **{"proposals": Grid(), "layers": AveragePool, "region_pool": pool, **options}).eval()


@pytest.fixture(scope="module")
def fitted():
    model = _model()
    svm.fit_svms(model, _samples)
    return model


def test_a_fitted_model_finds_the_squares(fitted):
    assert bool(fitted.box_head.fitted)
    for image, target in _samples(4):
        with torch.no_grad():
            detections = fitted([image])[0]
        for box, label in zip(target.boxes, target.labels, strict=True):
            best = detections[detections.labels == label][:1]
            assert best.scores[0] > 0.5
            assert (best.boxes[0] - box).abs().max() < 5
        assert not (detections.labels == 2).any()


def test_margins_separate_objects_from_background(fitted):
    for image, target in _samples(4):
        batch = fitted.preprocess([image])
        background = torch.tensor([[40.0, 0, 46, 6], [90, 70, 96, 80]])
        with torch.no_grad():
            regions = Regions.of_images([torch.cat((target.boxes, background))])
            vectors = fitted.region_vectors([batch.images], regions)
            margins = fitted.box_head.answer(vectors).logits[:, :2]
        assert margins[0, 0] > 0 > margins[0, 1]
        assert margins[1, 1] > 0 > margins[1, 0]


def test_ridge_regression_is_that_of_the_paper():
    random = np.random.default_rng(1)
    inputs, targets = random.normal(size=(50, 5)), random.normal(size=(50, 4))
    one = svm._Class(5)
    one.regression_inputs, one.regression_targets = [inputs], [targets]
    weight, mean = one.regression()

    def cost(candidate):  # equation 5
        return np.square(targets - mean - inputs @ candidate.T).sum() + 1000 * np.square(candidate).sum()

    best = cost(weight)
    for _ in range(20):
        assert cost(weight + random.normal(scale=1e-3, size=weight.shape)) > best


def test_regression_in_the_head_is_what_was_learned():
    torch.manual_seed(0)
    model = _model()
    one = svm._Class(6)
    random = np.random.default_rng(2)
    one.positives = [random.normal(size=(2, 6))]
    one.regression_inputs, one.regression_targets = [random.normal(size=(9, 6))], [random.normal(size=(9, 4))]
    vectors = torch.rand(7, 6)
    with torch.no_grad():
        svm._put(model.box_head, 1, one, scale=0.5)
        deltas = model.box_head.answer(vectors).deltas[:, 1]
    weight, mean = one.regression()
    expected = torch.from_numpy(vectors.numpy() * 0.5 @ weight.T + mean).float()
    boxes = torch.tensor([[10.0, 20, 30, 60]]).expand(7, 4)
    torch.testing.assert_close(model.box_head.coder.decode(boxes, deltas), DeltaCoder().decode(boxes, expected))


def test_refusals_name_what_is_wrong():
    with pytest.raises(InputError, match="SVMBoxHead, got a BoxHead"):
        svm.fit_svms(_model(box_head=partial(BoxHead)), _samples)
    empty = Target.empty()
    with pytest.raises(InputError, match="no proposals, and image id None comes without them"):
        svm.fit_svms(_model(proposals=None), _samples)
    with pytest.raises(InputError, match="no objects"):
        svm.fit_svms(_model(), lambda: [(image, empty) for image, _ in _samples(2)])
