"""SSD and SSDlite as detectors: as large as published, on any backbone, and what they return."""

from functools import partial

import pytest
import torch
import torchvision
from small_detectors import check_learning_and_detecting, two_images

from detkit.backbones import DilatedVGG16, TappedMobileNet, TimmBackbone, TorchvisionBackbone
from detkit.models import SSD, SSDlite
from detkit.necks import SSD512_LAYERS, ExtraLayers
from detkit.preprocess import Square
from detkit.structures import Target


@pytest.mark.parametrize(
    ("make", "size", "boxes"),
    [
        (lambda: SSD(DilatedVGG16(), 20), 300, 8732),
        (lambda: SSD(DilatedVGG16(), 20, partial(ExtraLayers, layers=SSD512_LAYERS)), 512, 24564),
        (lambda: SSDlite(TappedMobileNet(), 20), 320, 3234),
    ],
    ids=["SSD300", "SSD512", "SSDlite320"],
)
def test_has_as_many_default_boxes_as_the_papers(make, size, boxes):
    with torch.device("meta"):
        raw = make().eval().raw(torch.empty(1, 3, size, size))
    assert raw.logits.shape == (1, boxes, 21)
    assert raw.deltas.shape == (1, boxes, 4)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("ssd300_vgg16", lambda: SSD(DilatedVGG16(), 90)),
        ("ssdlite320_mobilenet_v3_large", lambda: SSDlite(TappedMobileNet(reduced_tail=True), 90)),
    ],
)
def test_has_as_many_parameters_as_the_published_weights(name, make):
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in make().parameters())
    (weights,) = torchvision.models.get_model_weights(name)
    assert count == weights.meta["num_params"]


SMALL = {
    "SSD on ResNet": lambda: SSD(TimmBackbone("resnet10t", stages=[3, 4, 5]), 3, preprocess=Square(96)),
    "SSD on one map": lambda: SSD(TorchvisionBackbone("mobilenet_v3_small", stages=[4]), 3, preprocess=Square(96)),
    "SSDlite": lambda: SSDlite(TappedMobileNet("mobilenet_v3_small"), 3, preprocess=Square(128)),
    "SSDlite on ResNet": lambda: SSDlite(TorchvisionBackbone("resnet18", stages=[4, 5]), 3, preprocess=Square(96)),
}


@pytest.mark.parametrize("name", SMALL)
def test_learns_and_detects_on_any_backbone(name):
    torch.manual_seed(0)
    model = SMALL[name]()
    check_learning_and_detecting(model, {"ssd_cls", "ssd_box"})


def test_loss_weights_count():
    torch.manual_seed(0)
    model = SMALL["SSDlite"]().eval()
    targets = [Target(torch.tensor([[5.0, 6, 40, 50]]), torch.tensor([0])), Target.empty()]
    before = {name: loss.detach() for name, loss in model(two_images(), targets).items()}
    model.loss_weights = {"ssd_box": 2.0}
    after = model(two_images(), targets)
    torch.testing.assert_close(after["ssd_box"].detach(), 2 * before["ssd_box"])
    assert after["ssd_cls"] == before["ssd_cls"]
