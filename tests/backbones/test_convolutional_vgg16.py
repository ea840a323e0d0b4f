"""VGG-16 made convolutional: the same numbers as the classifier, and where its maps begin."""

from urllib.error import URLError

import pytest
import torch
from torch import nn
from torchvision.models import vgg16

from detkit.backbones import ConvolutionalVGG16
from detkit.backbones.convolutional_vgg16 import fully_connected_as_convolutions
from detkit.errors import InputError


@pytest.mark.slow
def test_it_answers_as_the_classifier_whose_weights_it_has(monkeypatch):
    torch.manual_seed(torch.seed() % 2**31)
    net = vgg16().eval()
    monkeypatch.setattr("detkit.backbones.published.ask", lambda url: None)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *_, **__: net.state_dict())
    made = ConvolutionalVGG16(weights="DEFAULT").eval()
    images = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        expected = net.classifier[:6](net.avgpool(net.features(images)).flatten(1))
        # The border of 100 zeros is not the classifier's: the same layers without it.
        made.features[0].padding = (1, 1)
        answer = made(images)[-1]
    assert answer.shape == (1, 4096, 1, 1)
    assert torch.allclose(answer.flatten(1), expected, atol=1e-5 * float(expected.abs().max()))


def test_fully_connected_layers_are_the_same_sums_as_windows():
    torch.manual_seed(torch.seed() % 2**31)
    fc6, fc7 = nn.Linear(5 * 49, 6).double(), nn.Linear(6, 4).double()
    converted = fully_connected_as_convolutions(
        {
            "classifier.0.weight": fc6.weight, "classifier.0.bias": fc6.bias,
            "classifier.3.weight": fc7.weight, "classifier.3.bias": fc7.bias, "classifier.6.weight": fc7.weight,
        }
    )  # fmt: skip
    assert {name: tuple(one.shape) for name, one in converted.items()} == {
        "fc6.weight": (6, 5, 7, 7), "fc6.bias": (6,), "fc7.weight": (4, 6, 1, 1), "fc7.bias": (4,),
    }  # fmt: skip
    cells = torch.rand(2, 5, 9, 8, dtype=torch.float64)
    conv = nn.functional.conv2d
    dense = conv(conv(cells, converted["fc6.weight"], fc6.bias).relu(), converted["fc7.weight"], fc7.bias)
    for y in range(3):
        for x in range(2):
            window = cells[:, :, y : y + 7, x : x + 7].flatten(1)
            assert torch.allclose(dense[:, :, y, x], fc7(fc6(window).relu()))


def test_maps_begin_where_it_says():
    """Each map is shifted against the image: the origins of conv1_1 and of fc6's windows (the authors' crops)."""
    assert ConvolutionalVGG16(1 / 64).origins == [-99, -99, -3]


@pytest.mark.parametrize("size", [(1, 1), (33, 41), (64, 50)])
def test_maps_have_the_sizes_of_caffe(size):
    maps = ConvolutionalVGG16(1 / 64)(torch.rand(1, 3, *size))
    for axis, side in enumerate(size, 2):
        pooled = side + 198
        expected = []
        for level in range(5):
            pooled = -(-pooled // 2)  # Caffe rounds up
            expected += [pooled] if level in (2, 3) else []
        assert [one.shape[axis] for one in maps] == [*expected, pooled - 6]


def test_a_file_of_another_network_is_refused(tmp_path):
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match=r"none of its 1 tensors fits"):
        ConvolutionalVGG16(1 / 64, weights=str(tmp_path / "other.pth"))


def test_published_weights_without_a_network_say_what_to_do(monkeypatch):
    def fail(*arguments, **options):
        raise URLError("no route to host")

    monkeypatch.setattr("detkit.backbones.published.ask", lambda url: None)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
    with pytest.raises(InputError, match=r"weights of vgg16 cannot be had \(.*no route to host.*path of a weights"):
        ConvolutionalVGG16(1 / 64, weights="DEFAULT")
