"""ZFNet, OverFeat and the two-tower AlexNet, with their papers' tables as witnesses."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from detkit.backbones import AlexNet, OverFeatAccurate, OverFeatFast, ZFNet
from detkit.errors import InputError

# Maps (channels, cells) after every convolution and every pooling, as the papers' figure and tables have them.
MAPS = {
    ZFNet: [(96, 110), (96, 55), (256, 26), (256, 13), (384, 13), (384, 13), (256, 13), (256, 6)],
    OverFeatFast: [(96, 56), (96, 28), (256, 24), (256, 12), (512, 12), (1024, 12), (1024, 12), (1024, 6)],
    OverFeatAccurate: [
        (96, 108), (96, 36), (256, 30), (256, 15), (512, 15), (512, 15), (1024, 15), (1024, 15), (1024, 5),
    ],
    AlexNet: [(96, 55), (96, 27), (256, 27), (256, 13), (384, 13), (384, 13), (256, 13), (256, 6)],
}  # fmt: skip
# Millions of parameters and of connections (Sermanet 2013, table 4; Krizhevsky 2012, section 3 and 3.5).
SIZES = {OverFeatFast: (145, 2810), OverFeatAccurate: (144, 5369), AlexNet: (60, None)}


@pytest.mark.parametrize("make", MAPS)
def test_the_maps_of_the_paper(make):
    with torch.device("meta"):
        net = make(num_classes=1000)
        x, maps = torch.empty(1, 3, net.training_size, net.training_size), []
        for layer in net.features:
            x = layer(x)
            if isinstance(layer, (torch.nn.Conv2d, torch.nn.MaxPool2d)):
                maps.append((x.shape[1], x.shape[2]))
                assert x.shape[2] == x.shape[3]
        assert net.classify(torch.empty(2, 3, net.training_size, net.training_size)).shape == (2, 1000)
    assert maps == MAPS[make]


@pytest.mark.parametrize("make", SIZES)
def test_the_size_of_the_paper(make):
    parameters, connections = SIZES[make]
    with torch.device("meta"):
        net = make(num_classes=1000)
        with FlopCounterMode(display=False) as counter:
            net.classify(torch.empty(1, 3, net.training_size, net.training_size))
    assert sum(parameter.numel() for parameter in net.parameters()) / 1e6 == pytest.approx(parameters, rel=0.02)
    if connections:
        assert counter.get_total_flops() / 2e6 == pytest.approx(connections, rel=0.03)


@pytest.mark.parametrize("make", MAPS)
def test_channels_and_strides_are_known_before_any_forward(make):
    with torch.device("meta"):
        net = make()
        maps, larger = net(torch.empty(2, 3, 256, 320)), net(torch.empty(2, 3, 256 + 288, 320 + 576))
    assert net.strides == ([6, 12] if make is OverFeatAccurate else [4, 8, 16])
    assert [map_.shape[1] for map_ in maps] == net.channels
    for map_, map_of_larger, stride in zip(maps, larger, net.strides, strict=True):
        more = [after - before for after, before in zip(map_of_larger.shape[2:], map_.shape[2:], strict=True)]
        assert more == [288 // stride, 576 // stride]
    assert not any(name.startswith("classifier") for name in net.state_dict())


@pytest.mark.parametrize("make", [ZFNet, OverFeatAccurate])
def test_chosen_strides(make):
    torch.manual_seed(0)
    every = make(strides=[32, 4, 8] if make is ZFNet else [36, 6, 2]).eval()
    last = make(strides=[8 if make is ZFNet else 6]).eval()
    last.load_state_dict({name: value for name, value in every.state_dict().items() if name in last.state_dict()})
    images = torch.rand(1, 3, 96, 128)
    maps = every(images)
    assert torch.equal(last(images)[0], maps[1])
    assert [map_.shape[1] for map_ in maps] == every.channels
    assert len(list(last.parameters())) == 4


def test_a_classifier_s_file_loads_with_and_without_its_last_layers(tmp_path):
    torch.manual_seed(0)
    net = AlexNet(num_classes=3).eval()
    torch.save(net.state_dict(), tmp_path / "net.pth")
    whole = AlexNet(num_classes=3, weights=str(tmp_path / "net.pth")).eval()
    images = torch.rand(2, 3, 227, 227)
    with torch.no_grad():
        assert torch.equal(whole.classify(images), net.classify(images))
        backbone = AlexNet(weights=str(tmp_path / "net.pth")).eval()
        for map_, expected in zip(backbone(images), net(images), strict=True):
            assert torch.equal(map_, expected)
    assert backbone.load_report.missing == backbone.load_report.mismatched == []
    assert {name.split(".")[0] for name in backbone.load_report.unexpected} == {"classifier"}


def test_a_backbone_without_classes_does_not_classify():
    with pytest.raises(InputError, match="no classifier: make it with num_classes"):
        ZFNet().classify(torch.rand(1, 3, 224, 224))


@pytest.mark.parametrize("strides", [[12], [4, 64], []])
def test_unknown_strides_are_refused_with_those_there_are(strides):
    with pytest.raises(InputError, match=r"ZFNet has no maps of strides .*\[2, 4, 8, 16, 32\]"):
        ZFNet(strides=strides)
