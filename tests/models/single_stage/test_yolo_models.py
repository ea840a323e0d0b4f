"""YOLOv1 to v4 as detectors: as large as their published weights, on any backbone, and what they return."""

from functools import partial

import pytest
import torch
from small_detectors import check_learning_and_detecting

from detkit.backbones import (
    CSPDarknet53,
    CSPDarknetTiny,
    Darknet19,
    Darknet53,
    DarknetTiny,
    TorchvisionBackbone,
    YOLOv1Backbone,
)
from detkit.heads import YOLOv1Head, YOLOv3Head, YOLOv4Head
from detkit.models import YOLOv1, YOLOv2, YOLOv3, YOLOv4
from detkit.necks import YOLOv3Neck
from detkit.preprocess import Letterbox

TINY_NECK = partial(YOLOv3Neck, channels=[128, 256], convolutions=[0, 1])
TWO_LEVELS = [[(10.0, 14.0), (23.0, 27.0), (37.0, 58.0)], [(81.0, 82.0), (135.0, 169.0), (344.0, 319.0)]]

# The size of darknet's file in bytes, its header included, which is 16 bytes long and later 20.
PUBLISHED = {
    "yolov2-voc": (lambda: YOLOv2(Darknet19(), 20), 202_704_260, 16),
    "yolov2": (lambda: YOLOv2(Darknet19(), 80), 203_934_260, 16),
    "yolov3": (lambda: YOLOv3(Darknet53(), 80), 248_007_048, 20),
    "yolov3-spp": (lambda: YOLOv3(Darknet53(), 80, partial(YOLOv3Neck, spp=True)), 252_209_544, 20),
    "yolov3-tiny": (
        lambda: YOLOv3(DarknetTiny(), 80, TINY_NECK, partial(YOLOv3Head, anchors=TWO_LEVELS)),
        35_434_956,
        20,
    ),
    "yolov4": (lambda: YOLOv4(CSPDarknet53(), 80), 257_717_640, 20),
    "yolov4-tiny": (
        lambda: YOLOv4(
            CSPDarknetTiny(), 80, TINY_NECK, partial(YOLOv4Head, anchors=TWO_LEVELS, scale_x_y=[1.05, 1.05])
        ),
        24_251_276,
        20,
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_has_as_many_numbers_as_the_published_weights(name):
    make, size, header = PUBLISHED[name]
    with torch.device("meta"):
        model = make()
    statistics = sum(buffer.numel() for key, buffer in model.named_buffers() if "running" in key)
    assert sum(parameter.numel() for parameter in model.parameters()) + statistics == (size - header) / 4


SMALL = {
    "v1": lambda: YOLOv1(YOLOv1Backbone(0.02), 3, partial(YOLOv1Head, side=2, hidden=8)),
    "v2": lambda: YOLOv2(Darknet19(0.02), 3, preprocess=Letterbox((96, 128))),
    "v3": lambda: YOLOv3(Darknet53(0.05, [1] * 5), 3, preprocess=Letterbox((96, 128))),
    "v4": lambda: YOLOv4(CSPDarknet53(0.05, [1] * 5), 3, preprocess=Letterbox((96, 128))),
    "v1 on MobileNet": lambda: YOLOv1(_mobilenet(5), 3, partial(YOLOv1Head, side=4, hidden=8)),
    "v2 on MobileNet": lambda: YOLOv2(_mobilenet(4, 5), 3, preprocess=Letterbox((96, 128))),
    "v3 on MobileNet": lambda: YOLOv3(_mobilenet(3, 4, 5), 3, preprocess=Letterbox((96, 128))),
    "v4 on MobileNet": lambda: YOLOv4(_mobilenet(3, 4, 5), 3, preprocess=Letterbox((96, 128))),
}


def _mobilenet(*stages):
    return TorchvisionBackbone("mobilenet_v3_small", stages=stages)


@pytest.mark.parametrize("name", SMALL)
def test_learns_and_detects_on_any_backbone(name):
    torch.manual_seed(0)
    model = SMALL[name]()
    model.head.postprocess.score_threshold = 0.0
    check_learning_and_detecting(model, {"yolo_box", "yolo_obj", "yolo_cls"})


def test_v1_knows_the_only_size_of_its_images():
    assert SMALL["v1"]().preprocess.size == (128, 128)
    assert SMALL["v1 on MobileNet"]().preprocess.size == (128, 128)
