"""The deconvolution network against the paper's three steps, written out."""

import pytest
import torch
import torchvision
from timm.layers import freeze_batch_norm_2d
from torch import nn
from torch.nn import functional as F

from detkit.backbones import classifier
from detkit.errors import InputError
from detkit.visualization.attribution.deconvolution import DeconvolutionMode, Unit, extent, project, strongest_units
from detkit.visualization.attribution.named_layers import stage_layers


class Chain(nn.Module):
    """Two convolutions, each with ReLU and max-pooling."""

    def __init__(self, conv, pool, inplace, functional=False):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, **conv), nn.Conv2d(6, 8, **conv)
        self.relu, self.pool = nn.ReLU(inplace), nn.MaxPool2d(**pool)
        self.functional = functional
        self.end = nn.Identity()

    def forward(self, x):
        rectify = torch.relu if self.functional else self.relu
        return self.end(self.pool(rectify(self.conv2(self.pool(rectify(self.conv1(x)))))))


def unpooled(signal, switches, size):
    """Each value at its switch; several at the same place add up."""
    flat = torch.zeros(*signal.shape[:2], size[0] * size[1], dtype=signal.dtype)
    return flat.scatter_add(2, switches.flatten(2), signal.flatten(2)).unflatten(2, size)


def written_out(net, image, unit, unpool):
    """Section 2.1 step by step: record the switches, then unpool, rectify and filter, twice."""
    sizes, switches, x = [], [], image
    for conv in (net.conv1, net.conv2):
        before = x.shape[-2:]
        x = F.relu(conv(x))
        x, places = F.max_pool2d(x, net.pool.kernel_size, net.pool.stride, net.pool.padding, return_indices=True)
        sizes.append(before)
        switches.append(places)
    signal = torch.zeros_like(x)
    place = (0, unit.channel, *unit.cell)
    signal[place] = x[place]
    for conv, size, places in ((net.conv2, sizes[1], switches[1]), (net.conv1, sizes[0], switches[0])):
        inner = conv(torch.zeros(1, conv.in_channels, *size, dtype=image.dtype)).shape[-2:]
        signal = F.relu(unpool(signal, places, inner))
        missing = [
            length - ((cells - 1) * conv.stride[0] - 2 * conv.padding[0] + conv.kernel_size[0])
            for length, cells in zip(size, inner, strict=True)
        ]
        signal = F.conv_transpose2d(signal, conv.weight, None, conv.stride, conv.padding, missing)
    return signal[0]


def max_unpooled(net):
    return lambda signal, places, size: F.max_unpool2d(
        signal, places, net.pool.kernel_size, net.pool.stride, net.pool.padding, output_size=size
    )


CONVOLUTIONS = [
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 5, "stride": 2, "padding": 1},
    {"kernel_size": 4, "stride": 3},
]


@pytest.mark.parametrize("conv", CONVOLUTIONS, ids=str)
@pytest.mark.parametrize("size", [(61, 74), (80, 67)])
@pytest.mark.parametrize("layers", ["module", "inplace", "functional"])
@torch.no_grad()
def test_a_chain_is_unpooled_rectified_and_filtered(conv, size, layers):
    torch.manual_seed(hash((str(conv), size)) % 1000)
    net = Chain(conv, {"kernel_size": 2}, layers == "inplace", layers == "functional").double()
    image = torch.randn(1, 3, *size, dtype=torch.float64)
    (units,) = strongest_units(net, [image], ["end"], count=4)["end"][:1]
    (projected,) = project(net, image, {"end": units})["end"]
    expected = written_out(net, image, units[0], max_unpooled(net))
    assert expected.abs().max() > 0
    torch.testing.assert_close(projected.pixels, expected)


@pytest.mark.parametrize(
    "pool",
    [
        {"kernel_size": 3, "stride": 2},
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": 2, "stride": 1},
        {"kernel_size": 3, "stride": 4, "padding": 1},
    ],
    ids=str,
)
@torch.no_grad()
def test_where_windows_overlap_shared_maxima_add_up(pool):
    torch.manual_seed(7)
    net = Chain({"kernel_size": 3, "padding": 1}, pool, inplace=True).double()
    image = torch.randn(1, 3, 45, 38, dtype=torch.float64)
    for units in strongest_units(net, [image], ["end"], count=8)["end"]:
        (projected,) = project(net, image, {"end": units})["end"]
        torch.testing.assert_close(projected.pixels, written_out(net, image, units[0], unpooled))


class Branches(nn.Module):
    """A residual sum, a concatenation and a gate, as nets have them."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 3, 1, bias=False), nn.Conv2d(3, 3, 1, bias=False)
        self.gate, self.end = nn.Conv2d(6, 6, 1), nn.Identity()

    def forward(self, x):
        both = torch.cat((F.relu(self.left(x)) + x, F.relu(self.right(x))), dim=1)
        return self.end(both * self.record_layers(both))

    def record_layers(self, both):
        return F.hardsigmoid(self.gate(F.adaptive_avg_pool2d(both, 1)))


@torch.no_grad()
def test_sums_concatenations_and_gates():
    torch.manual_seed(0)
    net, image = Branches(), torch.rand(1, 3, 4, 5)
    both = torch.cat((F.relu(net.left(image)) + image, F.relu(net.right(image))), dim=1)
    gates = net.record_layers(both)[0, :, 0, 0]
    for channel in range(6):
        unit = Unit(0, channel, (2, 3), 0.0)
        (projected,) = project(net, image, {"end": [unit]})["end"]
        signal = (both[0, channel, 2, 3] * gates[channel] ** 2).clamp(min=0)
        weights = (net.left if channel < 3 else net.right).weight[channel % 3, :, 0, 0]
        expected = torch.zeros(3, 4, 5)
        expected[:, 2, 3] = signal * weights
        if channel < 3:
            expected[channel, 2, 3] += both[0, channel, 2, 3] * gates[channel] ** 2
        torch.testing.assert_close(projected.pixels, expected)


NONLINEARITIES = [
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.SiLU,
    nn.Hardswish,
    nn.Mish,
    nn.ELU,
    lambda inplace: nn.GELU(),
    lambda inplace: nn.PReLU(),
    lambda inplace: nn.Softplus(),
]


@pytest.mark.parametrize("make", NONLINEARITIES)
def test_every_rectifier_rectifies_the_signal_and_not_the_activation(make):
    signal = torch.tensor([-2.0, 3.0, -1.0, 0.5])
    for inplace in (False, True):
        source = torch.tensor([-1.0, -2.0, 4.0, 9.0], requires_grad=True)
        layer = make(inplace=inplace)
        with DeconvolutionMode():
            output = layer(source * 1)
        torch.testing.assert_close(output, layer(source.detach().clone()))
        (back,) = torch.autograd.grad(output, source, signal)
        assert torch.equal(back, signal.clamp(min=0))


def test_what_a_layer_changed_in_place_is_changed_for_all():
    source = torch.tensor([-1.0, 2.0], requires_grad=True)
    with DeconvolutionMode():
        x = source * 1
        F.relu(x, inplace=True)
        x.relu_()
    assert x.tolist() == [0, 2]
    (back,) = torch.autograd.grad(x, source, torch.tensor([5.0, -5.0]))
    assert back.tolist() == [5, 0]


def test_hardtanh_is_linear_but_where_it_is_relu6():
    source = torch.tensor([0.5], requires_grad=True)
    with DeconvolutionMode():
        output = nn.Hardtanh()(source)
    assert torch.autograd.grad(output, source, torch.tensor([-1.0]))[0].item() == -1


@torch.no_grad()
def test_batch_norm_scales_the_signal_frozen_or_not():
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(3)
    norm.running_var.copy_(torch.tensor([0.5, 2.0, 4.0]))
    norm.weight.copy_(torch.tensor([1.0, -3.0, 2.0]))
    image = torch.rand(1, 3, 2, 2)
    scale = (norm.weight / (norm.running_var + norm.eps).sqrt())[1]
    activation = norm.eval()(image)[0, 1, 1, 0]
    frozen = torchvision.ops.FrozenBatchNorm2d(3)
    frozen.load_state_dict({name: value for name, value in norm.state_dict().items() if "tracked" not in name})
    for layer in (norm.train(), frozen, freeze_batch_norm_2d(nn.Sequential(norm))[0]):
        net = nn.Sequential(layer)
        (projected,) = project(net, image, {"0": [Unit(0, 1, (1, 0), 0.0)]})["0"]
        expected = torch.zeros(3, 2, 2)
        expected[1, 1, 0] = scale * activation
        torch.testing.assert_close(projected.pixels, expected)


@torch.no_grad()
def test_the_strongest_images_of_the_strongest_filters():
    net = nn.Sequential(nn.Conv2d(3, 3, 1, bias=False))
    net[0].weight.copy_(torch.eye(3)[..., None, None] * torch.tensor([1.0, 5.0, 2.0])[:, None, None, None])
    images = [torch.zeros(1, 3, 4, 6), torch.zeros(1, 3, 5, 5), torch.zeros(1, 3, 4, 4)]
    images[0][0, 1, 2, 5] = 1
    images[2][0, 1, 3, 0] = 2
    images[1][0, 2, 0, 1] = 1
    by_filter = strongest_units(net, images, ["0"], count=2, top=2)["0"]
    assert by_filter[0] == [Unit(2, 1, (3, 0), 10.0), Unit(0, 1, (2, 5), 5.0)]
    assert by_filter[1][0] == Unit(1, 2, (0, 1), 2.0)
    assert [units[0].channel for units in strongest_units(net, images, ["0"], filters=[2, 0])["0"]] == [2, 0]
    with pytest.raises(InputError, match=r"layer '0' has no filter 3: it has 3, counted from 0"):
        strongest_units(net, images, ["0"], filters=[3])


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "densenet121", "efficientnet_b0", "swin_t"])
def test_any_trunk(name):
    torch.manual_seed(0)
    net, image = classifier(name), torch.rand(1, 3, 64, 64)
    layers = stage_layers(net, image)
    units = strongest_units(net, [image], layers, count=1)
    of_image = {layer: [unit for views in of_layer for unit in views] for layer, of_layer in units.items()}
    before = [parameter.requires_grad for parameter in net.parameters()]
    for layer, projections in project(net, image, of_image).items():
        for _, pixels in projections:
            assert pixels.isfinite().all()
            assert pixels.abs().max() > 0, layer
    assert net.training
    assert before == [parameter.requires_grad for parameter in net.parameters()]
    assert all(parameter.grad is None for parameter in net.parameters())


def test_a_layer_that_the_image_does_not_reach():
    net = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Sigmoid())
    with pytest.raises(InputError, match=r"layer '1' does not depend on the image's pixels"):
        project(net, torch.rand(1, 3, 2, 2), {"1": [Unit(0, 0, (0, 0), 0.0)]})


def test_the_extent_of_a_projection():
    pixels = torch.zeros(3, 20, 30)
    pixels[1, 5:9, 10:12] = 1
    assert extent(pixels) == (9, 5, 13, 9)
    pixels = torch.zeros(3, 20, 30)
    pixels[0, 19, 0] = -1
    assert extent(pixels) == (0, 19, 1, 20)
    assert extent(torch.zeros(3, 20, 30)) == (0, 0, 30, 20)
