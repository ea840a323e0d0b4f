"""Classes and found objects as what is looked at, in every detector."""

from functools import partial

import pytest
import torch

from detkit.backbones import CSPDarknet53, Darknet19, Darknet53, TimmBackbone, TorchvisionBackbone, YOLOv1Backbone
from detkit.heads import (
    NMS,
    RPN,
    BoxHead,
    ClassificationHead,
    FCOSHead,
    KeypointHead,
    MaskHead,
    OverFeatHead,
    RetinaNetHead,
    SSDHead,
    TwoFullyConnected,
    YOLOv1Head,
    YOLOv2Head,
    YOLOv3Head,
    YOLOv4Head,
)
from detkit.heads.context import Context
from detkit.models import (
    FCOS,
    RCNN,
    SSD,
    CascadeRCNN,
    Classifier,
    FasterRCNN,
    FastRCNN,
    Localizer,
    OverFeat,
    RegionWarp,
    RetinaNet,
    YOLOv1,
    YOLOv2,
    YOLOv3,
    YOLOv4,
)
from detkit.necks import FPN
from detkit.preprocess import Batch, CenterCrop, Letterbox, ShortestEdge, Square, Stretch
from detkit.proposals import Proposals
from detkit.visualization import grad_cam, project, stage_layers, strongest_units
from detkit.visualization.attribution.attribution_target import ClassTarget, WarpedRegionTarget, detection_target

CLASSES = 3
EVERY = NMS(score_threshold=0.0)
BOX = partial(BoxHead, trunk=partial(TwoFullyConnected, hidden=16), postprocess=NMS(0.0, detections=3))


class Corners(Proposals):
    """Two boxes, whatever the image."""

    identity = "corners"

    def __call__(self, image):
        return torch.tensor([[2.0, 3, 40, 50], [30, 20, 90, 70]])


def trunk():
    return TorchvisionBackbone("mobilenet_v3_small", stages=[3, 4, 5], frozen_batch_norm=True)


def two_stage(kind=FasterRCNN, **options):
    parts = {
        "neck": partial(FPN, out_channels=8, extra_levels=None),
        "rpn": partial(RPN, postprocess=NMS(detections=30)),
    }
    preprocess = ShortestEdge(min_size=64, max_size=128)
    return kind(
        **{"backbone": trunk(), "num_classes": CLASSES, "box_head": BOX, "preprocess": preprocess} | parts | options
    )


def fcos():
    model = FCOS(trunk(), CLASSES, head=partial(FCOSHead, postprocess=EVERY), preprocess=ShortestEdge(64, 128))
    torch.nn.init.ones_(model.head.distances.bias)  # at random, boxes would have no size
    return model


HEAD = partial(ClassificationHead, dropout=0.5)
SQUARE = Letterbox((96, 128))
DETECTORS = {
    "SSD": lambda: SSD(
        TimmBackbone("resnet10t", stages=[3, 4]), CLASSES, head=partial(SSDHead, postprocess=EVERY),
        preprocess=Square(96),
    ),
    "RetinaNet": lambda: RetinaNet(
        trunk(), CLASSES, head=partial(RetinaNetHead, postprocess=EVERY), preprocess=ShortestEdge(64, 128)
    ),
    "FCOS": fcos,
    "Localizer": lambda: Localizer(trunk(), CLASSES, preprocess=Stretch((96, 96))),
    "Faster R-CNN": two_stage,
    "Faster R-CNN on timm": lambda: two_stage(backbone=TimmBackbone("resnet10t", stages=[3, 4, 5], frozen_stages=5)),
    "Mask and Keypoint R-CNN": lambda: two_stage(branches={"mask": MaskHead, "keypoints": KeypointHead}),
    "Cascade R-CNN": lambda: two_stage(CascadeRCNN, box_head=partial(BOX, class_agnostic=True)),
    "Fast R-CNN": lambda: FastRCNN(
        TorchvisionBackbone("mobilenet_v3_small", stages=[4]), CLASSES, Corners(), box_head=BOX,
        preprocess=ShortestEdge(64, 128),
    ),
    "R-CNN": lambda: RCNN(
        TorchvisionBackbone("squeezenet1_1", stages=[4]), CLASSES, Corners(), partial(TwoFullyConnected, hidden=8),
        partial(BoxHead, postprocess=EVERY), RegionWarp(64, 8),
    ),
    "OverFeat": lambda: OverFeat(
        trunk(), CLASSES, (1.0, 0.7), partial(OverFeatHead, pool=1, window=2, class_hidden=(8,), box_hidden=(8,)),
        ShortestEdge(128, 160),
    ),
    "YOLOv1": lambda: YOLOv1(YOLOv1Backbone(0.02), CLASSES, partial(YOLOv1Head, side=2, hidden=8, postprocess=EVERY)),
    "YOLOv2": lambda: YOLOv2(
        Darknet19(0.02), CLASSES, head=partial(YOLOv2Head, postprocess=EVERY), preprocess=SQUARE
    ),
    "YOLOv3": lambda: YOLOv3(
        Darknet53(0.05, [1] * 5), CLASSES, head=partial(YOLOv3Head, postprocess=EVERY), preprocess=SQUARE
    ),
    "YOLOv4": lambda: YOLOv4(
        CSPDarknet53(0.05, [1] * 5), CLASSES, head=partial(YOLOv4Head, postprocess=EVERY), preprocess=SQUARE
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DETECTORS)
def test_every_detector(name):
    torch.manual_seed(0)
    model = DETECTORS[name]()
    image = (torch.rand(3, 72, 100) * 255).byte()
    detections = model.predict(image)
    subject = detection_target(model, detections.boxes[0], int(detections.labels[0]))

    scores = subject.scores(torch.stack((image, image)).float() / 255)
    torch.testing.assert_close(scores, detections.scores[:1].expand(2), rtol=1e-3, atol=1e-5)

    batch = subject.prepare(image)
    layers = stage_layers(model, batch.images, subject.forward, subject.backbone)
    units = strongest_units(model, [batch.images], layers[-2:], count=1, forward=subject.forward)
    first = {layer: of_layer[0] for layer, of_layer in units.items()}
    for projections in project(model, batch.images, first, subject.forward).values():
        assert projections[0].pixels.abs().max() > 0

    cam = grad_cam(model, layers[-1], lambda: subject.objective(image), batch.padded_size)
    assert cam.isfinite().all()
    assert cam.ndim == 2
    assert model.training  # as it was


def test_the_gradient_of_a_detection_is_that_of_its_score_written_out():
    torch.manual_seed(3)
    model = DETECTORS["YOLOv3"]().eval()
    with torch.no_grad():
        for predict in model.head.predict:
            predict.weight.mul_(30)  # scores that differ
    image = torch.rand(3, 96, 128)
    detections = model.predict(image)
    subject = detection_target(model, detections.boxes[0], int(detections.labels[0]))
    cam = grad_cam(model, "backbone.stages.4", lambda: subject.objective(image), (96, 128))

    maps = model.backbone(model.preprocess([image]).images)
    coarsest = maps[-1].detach().requires_grad_()
    raw = model.head(model.neck([*maps[:-1], coarsest]), Context(Batch(torch.zeros(1, 3, 96, 128))))
    outputs = torch.cat([x.flatten(1, 3) for x in raw], dim=1)[0]
    scores = outputs[:, 4:5].sigmoid() * outputs[:, 5:].sigmoid()
    (gradient,) = torch.autograd.grad(scores.max(), coarsest)
    expected = (gradient.mean(dim=(2, 3), keepdim=True) * coarsest.detach()).sum(dim=1)[0].clamp(min=0)
    assert expected.max() > 0
    torch.testing.assert_close(cam, expected)


def test_the_same_object_is_of_the_same_class_and_in_the_same_place():
    class Finds:
        boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5.1], [0, 0, 10, 4.9], [0, 0, 10, 10]])
        labels = torch.tensor([1, 0, 0, 0])
        scores = torch.tensor([0.9, 0.6, 0.8, 0.3])

    model = DETECTORS["YOLOv3"]()
    subject = detection_target(model, torch.tensor([0.0, 0, 10, 10]), 0)
    assert subject._score(Finds) == torch.tensor(0.6)
    Finds.labels = torch.tensor([2, 2, 2, 2])
    assert subject._score(Finds) == 0


def test_an_rcnn_is_looked_at_in_the_warped_box():
    torch.manual_seed(0)
    model = DETECTORS["R-CNN"]()
    subject = detection_target(model, torch.tensor([30.0, 20, 90, 70]), 1)
    assert isinstance(subject, WarpedRegionTarget)
    assert subject.prepare(torch.rand(3, 72, 100)).images.shape == (1, 3, 64, 64)


@pytest.mark.parametrize("net", ["squeezenet1_1", "trunk"])
def test_a_class_of_an_image(net):
    torch.manual_seed(0)
    preprocess = CenterCrop((64, 64), 64)
    model = Classifier(trunk() if net == "trunk" else net, 4, preprocess=preprocess, head=HEAD)
    subject, images = ClassTarget(model, 2), torch.rand(2, 3, 64, 64)
    assert model.training
    model.eval()
    logits = model.raw(preprocess(list(images)).images).logits
    model.train()
    torch.testing.assert_close(subject.scores(images), logits.softmax(dim=1)[:, 2])
    torch.testing.assert_close(subject.objective(images[0]), logits[0, 2])
    batch = subject.prepare(images[0])
    layers = stage_layers(subject.network, batch.images, subject.forward)
    cam = grad_cam(subject.network, layers[-1], lambda: subject.objective(images[0]), batch.padded_size)
    assert cam.max() > 0
