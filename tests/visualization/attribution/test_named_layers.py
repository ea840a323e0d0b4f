"""Layers by name, and the last block of each stage."""

import pytest
import torch
from torch import nn

from detkit.backbones import TimmBackbone, classifier
from detkit.errors import InputError
from detkit.visualization.attribution.named_layers import eval_mode, get_layer, record_layers, stage_layers


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("resnet18", ["relu", "layer1", "layer2", "layer3", "layer4"]),
        ("squeezenet1_1", ["features.1", "features.4", "features.7", "features.12"]),
        ("densenet121", ["features.relu0", "features.denseblock1", "features.denseblock2", "features.denseblock3"]),
        ("mobilenet_v3_small", ["features.0", "features.1", "features.3", "features.8", "features.12"]),
        ("swin_t", ["features.1", "features.3", "features.5", "permute"]),
    ],
)
def test_the_last_block_of_each_stage(name, layers):
    with torch.device("meta"):
        net = classifier(name)
        stages = stage_layers(net, torch.zeros(1, 3, 224, 224))
    assert stages[: len(layers)] == layers
    assert net.training


def test_layers_within_a_part():
    net = nn.ModuleDict({"backbone": TimmBackbone("resnet10t"), "other": nn.Conv2d(3, 3, 1)})
    layers = stage_layers(net, torch.rand(1, 3, 64, 96), net["backbone"], "backbone")
    assert layers[-1] == "backbone.trunk.layer4"
    assert all(name.startswith("backbone.") for name in layers)


def test_a_net_without_maps_has_no_stages():
    with pytest.raises(InputError, match=r"no layer of Sequential gives a map"):
        stage_layers(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), torch.rand(1, 3, 2, 2))


def test_an_unknown_layer_is_named_with_those_near_to_it():
    with pytest.raises(InputError, match=r"ResNet has no layer 'layer5'; close to it: layer"):
        get_layer(classifier("resnet18"), "layer5")
    with pytest.raises(InputError, match="no layer ''"):
        get_layer(classifier("resnet18"), "")


def test_a_layer_without_a_map_is_named():
    net = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Flatten())
    with record_layers(net, ["1"], (2, 2)) as maps:
        net(torch.rand(1, 3, 2, 2))
    with pytest.raises(InputError, match=r"layer '1' gives \(1, 8\), not a map"):
        maps.outputs()


def test_what_was_recorded_stays_when_the_next_layer_works_in_place():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(inplace=True))
    with record_layers(net, ["0"], (5, 5)) as maps:
        image = torch.randn(1, 3, 5, 5)
        after = net(image)
    assert torch.equal(maps.outputs()[0], net[0](image))
    assert torch.equal(after, net(image))
    assert not net[0]._forward_hooks


def test_evaluation_mode_ends_as_it_was():
    net = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout())
    net[0].eval()
    with eval_mode(net):
        assert not any(module.training for module in net.modules())
    assert [module.training for module in net] == [False, True]
