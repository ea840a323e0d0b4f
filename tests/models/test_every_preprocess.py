"""Every preprocessing under every family of models: answers lie in the image, and learning sees what it shows."""

from functools import partial

import numpy as np
import pytest
import torch

from detkit.heads import BoxHead, KeypointHead, LocalizationHead, MaskHead, RetinaNetHead, TwoFullyConnected
from detkit.models import Classifier, FastRCNN, Localizer, RegionAlign, RetinaNet
from detkit.necks import FPN
from detkit.preprocess import CenterCrop, Letterbox, OriginalSize, ShortestEdge, SmoothShortestEdge, Square, Stretch
from detkit.proposals import Proposals
from detkit.structures import Target

PREPROCESSES = {
    "ShortestEdge": partial(ShortestEdge, 64, 256),
    "SmoothShortestEdge": partial(SmoothShortestEdge, 64, 256),
    "Square": partial(Square, 128),
    "Letterbox": partial(Letterbox, (128, 128)),
    "Stretch": partial(Stretch, (128, 96)),
    "CenterCrop": partial(CenterCrop, (64, 64), 72),
    "OriginalSize": partial(OriginalSize, divisor=32),
}
SIZES = [(40, 120), (120, 40), (90, 96)]

every_preprocess = pytest.mark.parametrize("preprocess", [make() for make in PREPROCESSES.values()], ids=PREPROCESSES)


class AllOver(Proposals):
    """Boxes of two sizes all over the image."""

    identity = "all over"

    def __call__(self, image):
        height, width = image.shape[1:]
        corners = [(x, y, size) for size in (16, 32) for y in range(0, height, 8) for x in range(0, width, 8)]
        return torch.tensor([[x, y, min(x + size, width), min(y + size, height)] for x, y, size in corners]).float()


def _images(seed, sizes=SIZES):
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(3, *size, generator=generator) for size in sizes]


def _two_stage(make_model, tiny_backbone, preprocess, **options):
    return make_model(score_threshold=0.0, preprocess=preprocess, **options)


def _external(make_model, tiny_backbone, preprocess):
    torch.manual_seed(0)
    head = partial(BoxHead, trunk=partial(TwoFullyConnected, hidden=16), score_threshold=0.0)
    pyramid = partial(FPN, out_channels=16, extra_levels=None)
    return FastRCNN(
        tiny_backbone(), 3, AllOver(), pyramid, head, region_pool=RegionAlign(canonical_size=64), preprocess=preprocess
    )


def _branches(make_model, tiny_backbone, preprocess):
    branches = {
        "mask": partial(MaskHead, channels=8, convolutions=1),
        "keypoint": partial(KeypointHead, num_keypoints=3, channels=8, convolutions=1),
    }
    return _two_stage(make_model, tiny_backbone, preprocess, branches=branches)


def _single_stage(make_model, tiny_backbone, preprocess):
    torch.manual_seed(0)
    head = partial(RetinaNetHead, anchor_sizes=[[16], [32], [64]], convolutions=1, score_threshold=0.0)
    pyramid = partial(FPN, out_channels=16, extra_levels=None)
    return RetinaNet(tiny_backbone(), 3, pyramid, head, preprocess=preprocess)


def _localizer(make_model, tiny_backbone, preprocess):
    torch.manual_seed(0)
    return Localizer(tiny_backbone(), 3, partial(LocalizationHead, hidden=8), preprocess)


FAMILIES = {
    "two_stage": _two_stage,
    "external": _external,
    "branches": _branches,
    "single_stage": _single_stage,
    "localizer": _localizer,
}


@every_preprocess
@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
@pytest.mark.parametrize("seed", [0, 1])
class TestAnswers:
    def test_no_box_reaches_out_of_the_image(self, make_model, tiny_backbone, family, preprocess, seed):
        model = family(make_model, tiny_backbone, preprocess).eval()
        images = _images(seed)
        with torch.no_grad():
            answers = model(images)
        for image, found in zip(images, answers, strict=True):
            height, width = image.shape[1:]
            assert len(found) > 0
            assert (found.boxes >= 0).all()
            assert (found.boxes <= torch.tensor([width, height, width, height])).all()
            if found.masks is not None:
                assert found.masks.shape == (len(found), height, width)
            if found.keypoints is not None:
                x, y = found.keypoints[..., 0], found.keypoints[..., 1]
                assert ((x >= 0) & (x <= width) & (y >= 0) & (y <= height)).all()


@every_preprocess
def test_a_classifier_answers(tiny_backbone, preprocess):
    answers = Classifier(tiny_backbone(), 3, preprocess=preprocess).predict(_images(0))
    assert [len(answer) for answer in answers] == [3, 3, 3]


@every_preprocess
class TestProposals:
    """A head that moves no box: the detections are the proposals."""

    def test_lie_where_they_were_given(self, make_model, tiny_backbone, preprocess):
        model = _external(make_model, tiny_backbone, preprocess).eval()
        torch.nn.init.zeros_(model.box_head.deltas.weight)
        image = _images(0, [(128, 96)])
        given = [Target(proposals=torch.tensor([[40.0, 48, 60, 80], [30, 40, 56, 88]]))]
        with torch.no_grad():
            (found,) = model(image, given=given)
        assert len(found) == 6  # of each class
        distance = (found.boxes[:, None] - given[0].proposals).abs().amax(dim=2).amin(dim=1)
        assert (distance < 1e-3).all()

    def test_that_are_given_are_those_that_would_be_found(self, make_model, tiny_backbone, preprocess):
        model = _external(make_model, tiny_backbone, preprocess).eval()
        images = _images(1)
        with torch.no_grad():
            own = model(images)
            given = model(images, given=[Target(proposals=AllOver()(image)) for image in images])
        for one, other in zip(own, given, strict=True):
            assert torch.equal(one.boxes, other.boxes)


@every_preprocess
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_gradient_reaches_the_image_as_a_finite_difference_says(preprocess, seed):
    generator = torch.Generator().manual_seed(seed)
    images = [image.requires_grad_() for image in _images(seed)]
    batch = preprocess(images)
    weights = torch.randn(batch.images.shape, generator=generator)
    (batch.images * weights).sum().backward()
    for index, image in enumerate(images):
        direction = torch.randn(image.shape, generator=generator)
        moved = [one.detach() for one in images]
        moved[index] = moved[index] + direction  # resampling is linear: no step is too large
        difference = ((preprocess(moved).images - batch.images.detach()).double() * weights.double()).sum()
        expected = (image.grad.double() * direction.double()).sum()
        assert difference.item() == pytest.approx(expected.item(), rel=1e-3, abs=1e-2)


@every_preprocess
@pytest.mark.parametrize("size", SIZES)
def test_pixels_lie_where_the_placement_says(preprocess, size):
    """A bright spot is where its middle is moved to."""
    image = torch.zeros(3, *size)
    y, x = size[0] // 2 - 4, size[1] // 2 - 6
    image[:, y : y + 12, x : x + 12] = 1.0
    seen = preprocess.changed(mean=torch.zeros(3, 1, 1), std=torch.ones(3, 1, 1))([image])
    pixels = seen.images[0, 0].numpy().copy()
    top, left, bottom, right = _window(seen.placements[0])
    inside = np.zeros_like(pixels)
    inside[top:bottom, left:right] = pixels[top:bottom, left:right]
    rows, columns = np.arange(pixels.shape[0]) + 0.5, np.arange(pixels.shape[1]) + 0.5
    middle = np.array([(inside.sum(0) * columns).sum(), (inside.sum(1) * rows).sum()]) / inside.sum()
    expected = seen.placements[0].points(np.array([x + 6.0, y + 6.0]))
    assert np.abs(middle - expected).max() < 1.0


def _window(placement):
    x1, y1, x2, y2 = placement.window
    return int(np.ceil(y1)) + 1, int(np.ceil(x1)) + 1, int(y2) - 1, int(x2) - 1


def test_changed_leaves_what_it_came_from_as_it_was():
    preprocess = Square(32)
    mean = preprocess.mean.clone()
    changed = preprocess.changed(mean=torch.zeros(3, 1, 1), size=64)
    assert (changed.size, preprocess.size) == (64, 32)
    assert torch.equal(changed.mean, torch.zeros(3, 1, 1))
    assert torch.equal(preprocess.mean, mean)
    assert changed.std is preprocess.std
