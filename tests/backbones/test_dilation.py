"""Output stride: what dilated backbones give, beside torchvision's own and beside the same net with its strides."""

import random
from functools import partial

import pytest
import torch
import torchvision
from torch import nn

from detkit.backbones import TimmBackbone, TorchvisionBackbone, as_backbone
from detkit.errors import InputError

SEEDS = [0, pytest.param(random.SystemRandom().randrange(2**31), id="fresh")]  # one id in all processes
RESNETS = ["resnet50", *(pytest.param(name, marks=pytest.mark.slow) for name in ("resnet101", "resnext50_32x4d"))]
DILATED_STAGES = {8: [False, True, True], 16: [False, False, True]}


def convolutions(net):
    """The settings of all convolutions by name."""
    return {
        name: (layer.stride, layer.dilation, layer.padding, layer.kernel_size)
        for name, layer in net.named_modules()
        if isinstance(layer, nn.Conv2d)
    }


@torch.no_grad()
def vary_norms_(net):
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(std=0.2)
            layer.running_var.uniform_(0.5, 1.5)
            layer.weight.uniform_(0.5, 1.5)
            layer.bias.normal_(std=0.2)


class TestAsTorchvision:
    @pytest.mark.parametrize("output_stride", DILATED_STAGES)
    @pytest.mark.parametrize("name", RESNETS)
    def test_resnets_have_the_convolutions_of_replace_stride_with_dilation(self, name, output_stride):
        with torch.device("meta"):
            theirs = torchvision.models.get_model(name, replace_stride_with_dilation=DILATED_STAGES[output_stride])
            ours = TorchvisionBackbone(name, output_stride=output_stride)
        assert convolutions(ours.trunk) == convolutions(theirs)
        assert ours.strides == [min(stride, output_stride) for stride in (4, 8, 16, 32)]

    @pytest.mark.parametrize("name", ["mobilenet_v3_large", "mobilenet_v3_small"])
    def test_mobilenets_have_the_convolutions_of_dilated(self, name):
        with torch.device("meta"):
            theirs = torchvision.models.get_model(name, dilated=True)
            ours = TorchvisionBackbone(name, output_stride=16)
        assert convolutions(ours.trunk) == {
            name: one for name, one in convolutions(theirs).items() if not name.startswith("classifier")
        }
        assert ours.strides == [4, 8, 16, 16]

    @pytest.mark.parametrize("seed", SEEDS)
    def test_a_resnet_gives_the_same_maps(self, seed):
        torch.manual_seed(seed)
        theirs = torchvision.models.resnet50(replace_stride_with_dilation=[False, True, True]).eval().double()
        vary_norms_(theirs)
        ours = TorchvisionBackbone("resnet50", stages=[4, 5], output_stride=8).eval().double()
        ours.trunk.load_state_dict({name: one for name, one in theirs.state_dict().items() if name[:2] != "fc"})
        nodes = {"layer3": "c4", "layer4": "c5"}
        expected = torchvision.models._utils.IntermediateLayerGetter(theirs, nodes)
        images = torch.rand(1, 3, 33, 41, dtype=torch.float64)
        with torch.inference_mode():
            for one, other in zip(ours(images), expected(images).values(), strict=True):
                torch.testing.assert_close(one, other)


@pytest.mark.parametrize("output_stride", [8, 16])
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "make",
    [
        partial(TorchvisionBackbone, "resnet18"),
        pytest.param(partial(TorchvisionBackbone, "mobilenet_v2"), marks=pytest.mark.slow),
        pytest.param(partial(TorchvisionBackbone, "regnet_y_400mf"), marks=pytest.mark.slow),
        pytest.param(partial(TorchvisionBackbone, "efficientnet_b0"), marks=pytest.mark.slow),
        partial(TimmBackbone, "resnet18"),
    ],
    ids=["resnet", "mobilenet_v2", "regnet", "efficientnet", "timm"],
)
def test_every_nth_cell_is_that_of_the_net_with_its_strides(make, seed, output_stride):
    """Its squeeze-and-excitation sees all cells, and not every n-th, so that it is left out here."""
    torch.manual_seed(seed)
    strided = make().double().eval()
    vary_norms_(strided)
    dilated = make(output_stride=output_stride).double().eval()
    assert dilated.state_dict().keys() == strided.state_dict().keys()
    dilated.load_state_dict(strided.state_dict())
    for net in (strided, dilated):
        for name, layer in list(net.named_modules()):
            if isinstance(layer, torchvision.ops.SqueezeExcitation):
                net.set_submodule(name, nn.Identity())
    images = torch.rand(1, 3, 41, 70, dtype=torch.float64)
    with torch.inference_mode():
        pairs = list(zip(dilated(images), strided(images), strict=True))
    for (fine, coarse), stride, before in zip(pairs, dilated.strides, strided.strides, strict=True):
        every = before // stride
        torch.testing.assert_close(fine[:, :, ::every, ::every], coarse)
        assert fine.shape[2:] == (-(-41 // stride), -(-70 // stride))


@pytest.mark.slow
def test_strides_in_the_first_convolution_are_dilated_as_well():
    torch.manual_seed(0)
    make = partial(TorchvisionBackbone, "resnet50", stages=[5], stride_in_1x1=True)
    strided, dilated = make().eval().double(), make(output_stride=16).eval().double()
    dilated.load_state_dict(strided.state_dict())
    images = torch.rand(1, 3, 33, 65, dtype=torch.float64)
    with torch.inference_mode():
        torch.testing.assert_close(dilated(images)[0][:, :, ::2, ::2], strided(images)[0])


class TestMultiGrid:
    @pytest.mark.parametrize(("output_stride", "rates"), [(16, [2, 4, 8]), (8, [4, 8, 16]), (None, [1, 2, 4])])
    def test_multiplies_the_rate_of_the_last_stage(self, output_stride, rates):
        """With an output stride of 16 the rates are (2, 4, 8): DeepLabv3, section 3.2.1."""
        with torch.device("meta"):
            net = TorchvisionBackbone("resnet50", stages=[5], output_stride=output_stride, multi_grid=(1, 2, 4))
        found = [unit.conv2.dilation[0] for unit in net.trunk.layer4]
        assert found == rates
        assert net.strides == [output_stride or 32]

    def test_takes_any_number_of_units(self):
        net = TorchvisionBackbone("resnet18", stages=[4, 5], output_stride=8, multi_grid=(1, 2)).eval()
        assert [unit.conv1.dilation[0] for unit in net.trunk.layer4] == [4, 8]
        assert [tuple(one.shape[2:]) for one in net(torch.rand(1, 3, 40, 72))] == [(5, 9), (5, 9)]

    @pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
    def test_is_of_a_resnet_with_so_many_units(self, name):
        with pytest.raises(InputError, match=r"multi_grid \(1, 2, 4\) has a rate for each unit"):
            TorchvisionBackbone(name, multi_grid=(1, 2, 4))


def test_by_name():
    assert as_backbone("resnet18", [4, 5], 8).strides == [8, 8]
    assert as_backbone("resnet10t", [4, 5], 16).strides == [16, 16]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (partial(TorchvisionBackbone, "densenet121", output_stride=16), "features.transition3.pool is a AvgPool2d"),
        (partial(TorchvisionBackbone, "swin_t", output_stride=8), "swin_t has no convolutions that could be dilated"),
        (
            partial(TorchvisionBackbone, "resnet18", output_stride=12),
            "output_stride must be one of 4, 8, 16, 32, got 12",
        ),
        (partial(TimmBackbone, "resnet18", output_stride=5), "output_stride must be one of 4, 8, 16, 32, got 5"),
        (partial(TimmBackbone, "vgg11", output_stride=8), "timm's vgg11 has no output_stride of 8"),
    ],
    ids=["pooling", "swin", "number", "timm number", "timm"],
)
def test_says_what_cannot_have_it(make, words):
    with pytest.raises(InputError, match=words):
        make()
