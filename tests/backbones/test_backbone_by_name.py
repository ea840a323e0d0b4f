"""A backbone where a name is given."""

import pytest
from torch import nn

from detkit.backbones import Darknet53, TimmBackbone, TorchvisionBackbone, as_backbone
from detkit.errors import InputError
from detkit.models import FCOS, SSD, Localizer, OverFeat, RetinaNet, YOLOv2, YOLOv3, YOLOv4


class TestAsBackbone:
    @pytest.mark.parametrize(("name", "kind"), [("resnet18", TorchvisionBackbone), ("resnet10t", TimmBackbone)])
    def test_is_the_net_of_that_name_with_the_stages_asked_for(self, name, kind):
        backbone = as_backbone(name, stages=[4, 5])
        assert type(backbone) is kind
        assert backbone.strides == [16, 32]

    def test_leaves_a_backbone_as_it_is(self):
        backbone = TimmBackbone("resnet10t", stages=[3])
        assert as_backbone(backbone, stages=[4, 5]) is backbone

    def test_takes_a_network_of_any_class(self):
        net = nn.Conv2d(3, 4, 1)
        net.channels, net.strides = [4], [1]
        assert as_backbone(net) is net
        assert (net.padded, net.origins) == (True, None)

    def test_keeps_what_such_a_network_states(self):
        net = nn.Conv2d(3, 4, 3)
        net.channels, net.strides, net.padded, net.origins = [4], [1], False, [1]
        assert (as_backbone(net).padded, net.origins) == (False, [1])

    @pytest.mark.parametrize(("name", "close"), [("resnet1", "resnet18"), ("Darknet35", "Darknet53")])
    def test_names_what_is_close(self, name, close):
        with pytest.raises(InputError, match=rf"the backbone '{name}' is neither .* close to it: .*{close}"):
            as_backbone(name)

    @pytest.mark.parametrize("what", [None, 18, Darknet53])
    def test_says_what_a_backbone_is(self, what):
        with pytest.raises(InputError, match=r"a backbone is a detkit.backbones.Backbone, such as .* or the name of"):
            as_backbone(what)


@pytest.mark.parametrize("kind", [RetinaNet, FCOS, SSD, YOLOv2, YOLOv3, YOLOv4, OverFeat, Localizer])
def test_every_single_stage_model_takes_a_name(kind):
    model = kind("resnet18", num_classes=2)
    backbone = model.backbone.trunk if kind is not OverFeat else model.backbone
    assert sum(parameter.numel() for parameter in backbone.parameters()) > 2_000_000
