"""Every preprocessing under every family of models: answers lie in the image, and learning sees what it shows."""

from functools import partial

import numpy as np
import pytest
import torch

from detkit.errors import InputError
from detkit.heads import (
    NMS,
    RPN,
    BoxHead,
    FCOSHead,
    KeypointHead,
    LocalizationHead,
    MaskHead,
    OverFeatHead,
    RetinaNetHead,
    SSDHead,
    SVMBoxHead,
    TwoFullyConnected,
    YOLOv3Head,
)
from detkit.heads.region.mask_targets import crop_masks
from detkit.models import (
    FCOS,
    RCNN,
    SSD,
    CascadeRCNN,
    Classifier,
    FastRCNN,
    Localizer,
    OverFeat,
    RegionAlign,
    RegionWarp,
    RetinaNet,
    YOLOv3,
)
from detkit.necks import FPN, ExtraLayers, YOLOv3Neck
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

ANY_SCORE = NMS(score_threshold=0.0)


@pytest.fixture(params=PREPROCESSES)
def preprocess(request):
    """One of each kind, made anew for each test."""
    return PREPROCESSES[request.param]()


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


HIDDEN = partial(TwoFullyConnected, hidden=16)
PYRAMID = partial(FPN, out_channels=16, extra_levels=None)


def _cascade(make_model, tiny_backbone, preprocess):
    head = partial(BoxHead, trunk=HIDDEN, class_agnostic=True, postprocess=ANY_SCORE)
    rpn = partial(RPN, anchor_sizes=[[16], [32], [64]], postprocess=NMS(candidates=200, detections=20))
    options = {"neck": PYRAMID, "rpn": rpn, "box_head": head, "region_pool": RegionAlign(canonical_size=64)}
    return CascadeRCNN(tiny_backbone(), 3, regions_per_image=32, preprocess=preprocess, **options)


def _external(make_model, tiny_backbone, preprocess, postprocess=ANY_SCORE):
    head = partial(BoxHead, trunk=HIDDEN, postprocess=postprocess)
    pool = RegionAlign(canonical_size=64)
    return FastRCNN(tiny_backbone(), 3, AllOver(), PYRAMID, head, region_pool=pool, preprocess=preprocess)


def _rcnn(make_model, tiny_backbone, preprocess):
    head, pool = partial(SVMBoxHead, postprocess=ANY_SCORE), RegionWarp(16, context=1)
    return RCNN(tiny_backbone(), 3, AllOver(), HIDDEN, head, pool, preprocess=preprocess)


def _branches(make_model, tiny_backbone, preprocess):
    branches = {
        "mask": partial(MaskHead, channels=8, convolutions=1),
        "keypoint": partial(KeypointHead, num_keypoints=3, channels=8, convolutions=1),
    }
    return _two_stage(make_model, tiny_backbone, preprocess, branches=branches)


def _retinanet(make_model, tiny_backbone, preprocess):
    head = partial(RetinaNetHead, anchor_sizes=[[16], [32], [64]], convolutions=1, postprocess=ANY_SCORE)
    return RetinaNet(tiny_backbone(), 3, PYRAMID, head, preprocess=preprocess)


def _fcos(make_model, tiny_backbone, preprocess):
    head = partial(FCOSHead, range_limits=[24, 48], convolutions=1, postprocess=ANY_SCORE)
    return FCOS(tiny_backbone(), 3, PYRAMID, head, preprocess=preprocess)


def _ssd(make_model, tiny_backbone, preprocess):
    neck = partial(ExtraLayers, layers=[[8, 16, 3, 2, 1]])
    head = partial(SSDHead, sizes=[12, 20, 32, 56, 80], aspect_ratios=[[2]] * 4, postprocess=ANY_SCORE)
    return SSD(tiny_backbone(), 3, neck, head, preprocess=preprocess)


def _yolo(make_model, tiny_backbone, preprocess):
    neck = partial(YOLOv3Neck, channels=[8, 12, 16], convolutions=[1, 1, 3])
    anchors = [[(12, 14)], [(24, 30)], [(60, 50)]]
    return YOLOv3(tiny_backbone(), 3, neck, partial(YOLOv3Head, anchors=anchors, postprocess=ANY_SCORE), preprocess)


def _overfeat(make_model, tiny_backbone, preprocess):
    head = partial(OverFeatHead, pool=2, window=2, class_hidden=[8], box_hidden=[8], postprocess=ANY_SCORE)
    return OverFeat(tiny_backbone(), 3, [1.0, 0.5], head, preprocess=preprocess)


def _localizer(make_model, tiny_backbone, preprocess):
    return Localizer(tiny_backbone(), 3, partial(LocalizationHead, hidden=8), preprocess)


FAMILIES = {
    "FasterRCNN": _two_stage,
    "CascadeRCNN": _cascade,
    "FastRCNN": _external,
    "RCNN": _rcnn,
    "branches": _branches,
    "RetinaNet": _retinanet,
    "FCOS": _fcos,
    "SSD": _ssd,
    "YOLOv3": _yolo,
    "OverFeat": _overfeat,
    "localizer": _localizer,
}


def _targets(images):
    """Of each image an object of 30 x 28 pixels around its middle, with a mask of its 7 upper rows and keypoints."""
    targets = []
    for image in images:
        height, width = image.shape[1:]
        x, y = float(width // 2 - 14), float(height // 2 - 15)
        masks = torch.zeros(1, height, width, dtype=torch.bool)
        masks[:, int(y) : int(y) + 7, int(x) - 3 : int(x) + 31] = True  # wider: the sides of the box are no matter
        keypoints = torch.tensor([[[x + 5, y + 5, 2], [x + 12, y + 10, 2], [x + 20, y + 20, 1]]])
        box, label = torch.tensor([[x, y, x + 28, y + 30]]), torch.tensor([1])
        targets.append(Target(box, label, masks, keypoints, image_label=1))
    return targets


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
class TestFamilies:
    @pytest.fixture(autouse=True)
    def seed(self):
        torch.manual_seed(0)

    def test_no_answer_reaches_out_of_the_image(self, make_model, tiny_backbone, family, preprocess):
        model = family(make_model, tiny_backbone, preprocess).eval()
        images = _images(0)
        with torch.no_grad():
            answers = model(images)
        for image, detections in zip(images, answers, strict=True):
            height, width = image.shape[1:]
            assert len(detections) > 0
            assert (detections.boxes >= 0).all()
            assert (detections.boxes <= torch.tensor([width, height, width, height])).all()
            if detections.masks is not None:
                assert detections.masks.shape == (len(detections), height, width)
            if detections.keypoints is not None:
                x, y = detections.keypoints[..., 0], detections.keypoints[..., 1]
                assert ((x >= 0) & (x <= width) & (y >= 0) & (y <= height)).all()

    def test_learns_an_object(self, make_model, tiny_backbone, family, preprocess):
        """Every loss is finite, and there is something to learn; without the object there is less."""
        model = family(make_model, tiny_backbone, preprocess)
        images = [image.requires_grad_() for image in _images(1)]
        losses = model(images, _targets(images), generator=torch.Generator().manual_seed(0))
        assert all(loss.isfinite() and loss > 0 for loss in losses.values()), losses
        sum(losses.values()).backward()
        assert all(image.grad.abs().sum() > 0 for image in images)
        unknown = model(images, [Target()] * 3, generator=torch.Generator().manual_seed(0))
        assert unknown.keys() == losses.keys()
        assert all(loss == 0 for loss in unknown.values())


def test_the_target_of_a_mask_is_the_same(preprocess):
    """An object whose mask is 7 of its 30 rows: in 28 cells of its box, 7 rows are covered by at least half."""
    image = _images(0, [(90, 96)])
    target = _targets(image)[0]
    (placement,) = preprocess(image).placements
    covered = crop_masks(target, placement.boxes(target.boxes), torch.tensor([0]), placement, 28)
    assert covered.mean().item() == 0.25


def test_a_batch_that_a_yolo_cannot_take(tiny_backbone):
    with pytest.raises(InputError, match=r"multiples of 16, got \(72, 100\): set the size of its preprocess"):
        _yolo(None, tiny_backbone, OriginalSize(divisor=4))(_images(0, [(72, 100)]))


def test_a_classifier_answers(tiny_backbone, preprocess):
    answers = Classifier(tiny_backbone(), 3, preprocess=preprocess).predict(_images(0))
    assert [len(answer) for answer in answers] == [3, 3, 3]


class TestProposals:
    """A head that moves no box: the detections are the proposals."""

    def test_lie_where_they_were_given(self, make_model, tiny_backbone, preprocess):
        model = _external(make_model, tiny_backbone, preprocess, NMS(score_threshold=0.0, iou_threshold=1.0)).eval()
        torch.nn.init.zeros_(model.box_head.deltas.weight)
        image = _images(0, [(128, 96)])
        given = [Target(proposals=torch.tensor([[40.0, 48, 60, 80], [30, 40, 56, 88]]))]
        with torch.no_grad():
            (detections,) = model(image, given=given)
        for label in range(3):
            of_class = detections.boxes[detections.labels == label]
            distance = (of_class[:, None] - given[0].proposals).abs().amax(dim=2)
            assert sorted(distance.argmin(dim=1).tolist()) == [0, 1]  # each proposal is found, once
            assert (distance.amin(dim=1) < 1e-3).all()

    def test_that_are_given_are_those_that_would_be_found(self, make_model, tiny_backbone, preprocess):
        model = _external(make_model, tiny_backbone, preprocess).eval()
        images = _images(1)
        with torch.no_grad():
            own = model(images)
            given = model(images, given=[Target(proposals=AllOver()(image)) for image in images])
        for one, other in zip(own, given, strict=True):
            assert torch.equal(one.boxes, other.boxes)


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
