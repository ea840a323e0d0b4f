"""Receptive fields: the papers' numbers, and the pixels to which a gradient flows back."""

import random

import pytest
import torch
from torch import nn

from detkit.backbones import ConvolutionalVGG16, SegNetBasicEncoder, SegNetEncoder, UNetEncoder, receptive_field
from detkit.errors import InputError
from detkit.heads.pixel.score_skips import BilinearUpsampling
from detkit.models import UNet


def size(layers, position=0):
    first, last = receptive_field(layers, position)
    return last - first + 1


def reached(layers, position, side):
    """The rows of an image of `side` rows to which a gradient of a row of the output flows back."""
    image = torch.ones(1, 1, side, 1, dtype=torch.float64, requires_grad=True)
    nn.Sequential(*layers)(image)[0, 0, position].sum().backward()
    rows = image.grad.flatten().nonzero().flatten()
    return int(rows[0]), int(rows[-1])


def random_layer(rng):
    kernel, stride, padding = (rng.randint(1, 4), 1), (rng.randint(1, 3), 1), (rng.randint(0, 2), 0)
    if rng.random() < 0.3:
        # With a stride above the kernel, some positions would see nothing.
        layer = nn.ConvTranspose2d(
            1, 1, kernel, (min(stride[0], kernel[0]), 1), (min(padding[0], kernel[0] - 1), 0), bias=False
        )
    elif rng.random() < 0.3:
        return nn.AvgPool2d(kernel, stride, (kernel[0] // 2, 0))
    else:
        layer = nn.Conv2d(1, 1, kernel, stride, padding, (rng.randint(1, 3), 1), bias=False)
    nn.init.constant_(layer.weight, 0.5)
    return layer.double()


@pytest.mark.parametrize("seed", [0, 1, 2, None])
def test_it_is_where_a_gradient_reaches(seed):
    rng, checked = random.Random(seed), 0
    for _ in range(60):
        layers, side = [random_layer(rng) for _ in range(rng.randint(1, 4))], 500
        height = nn.Sequential(*layers)(torch.ones(1, 1, side, 1, dtype=torch.float64)).shape[2]
        position = height // 2 + rng.randint(-2, 2)
        first, last = receptive_field(layers, position)
        if first >= 0 and last < side:
            assert reached(layers, position, side) == (first, last)
            checked += 1
    assert checked > 30


@pytest.mark.parametrize("dilation", [1, 2, 3, 6, 12, 18, 36])
def test_a_dilated_3x3_kernel_spans_2d_plus_1(dilation):
    assert size([nn.Conv2d(1, 1, 3, dilation=dilation)]) == 2 * dilation + 1


def test_dilations_of_powers_of_two_grow_exponentially():
    """Yu 2016, section 2: kernels of 3 dilated by 1, 2, 4 ... span 2^(n + 2) - 1 (here n from 0)."""
    layers = [nn.Conv2d(1, 1, 3, dilation=2**level) for level in range(6)]
    assert [size(layers[: level + 1]) for level in range(6)] == [2 ** (level + 2) - 1 for level in range(6)]


def test_fc7_of_fcn_sees_404_pixels():
    """VGG-16's pool5 sees 212 pixels with stride 32, a window of 7 cells 404 (Long 2015, table 1: "rf size")."""
    net = ConvolutionalVGG16(1 / 64)
    assert (size(net.features), size([*net.features, net.fc6, net.fc7])) == (212, 404)
    first, last = receptive_field([*net.features, net.fc6])
    # Its center is that of the cell that begins at the origin.
    assert (first + last + 1) / 2 == net.origins[-1] + 16


def test_a_pixel_of_fcn_32s_sees_all_cells_that_it_interpolates():
    net, up = ConvolutionalVGG16(1 / 64), nn.ConvTranspose2d(1, 1, 64, stride=32)
    assert size([*net.features, net.fc6, up], 100) == 404 + 32
    assert BilinearUpsampling(1, 32, learned=False).kernel_size == up.kernel_size


def unet_chain(model):
    layers = list(model.backbone.levels[0])
    for level in model.backbone.levels[1:]:
        layers += [nn.MaxPool2d(2), *level]
    for up, level in zip(model.head.up, model.head.levels, strict=True):
        layers += [up, *level]
    return [*layers, model.head.classes]


def test_a_pixel_of_unet_sees_what_the_margin_leaves():
    """An unpadded network of 572 pixels answers for 388: pixels at its ends see up to the ends."""
    layers = unet_chain(UNet(UNetEncoder(1 / 64), 2))
    fields = [receptive_field(layers, position) for position in range(388)]
    assert (min(first for first, _ in fields), max(last for _, last in fields)) == (0, 571)
    assert {last - first + 1 for first, last in fields} == {188, 204}


def test_the_chain_of_unet_is_what_its_pixels_see(monkeypatch):
    """Copies see less than the chain through the coarsest map; averages instead of maxima let gradients pass."""
    monkeypatch.setattr("detkit.backbones.unet_encoder.F.max_pool2d", nn.functional.avg_pool2d)
    model = UNet(UNetEncoder(1 / 64), 2).double().eval()
    for parameter in model.parameters():
        nn.init.constant_(parameter, 0.1)
    image = torch.ones(1, 3, 204, 204, dtype=torch.float64, requires_grad=True)
    logits = model.raw(image).logits
    assert logits.shape[2] == 20
    for position in range(20):
        (gradient,) = torch.autograd.grad(logits[0, :, position].sum(), image, retain_graph=True)
        rows = gradient[0].sum(dim=(0, 2)).nonzero().flatten()
        assert (int(rows[0]), int(rows[-1])) == receptive_field(unet_chain(model), position)


def test_segnets_encoders():
    assert size(SegNetEncoder(1 / 64).features) == 212
    # Four 7x7 kernels at strides 1, 2, 4 and 8, and the poolings between and behind them.
    assert size(SegNetBasicEncoder(1 / 64).features) == 1 + 6 * (1 + 2 + 4 + 8) + (1 + 2 + 4 + 8)


def test_other_layers_are_refused():
    with pytest.raises(InputError, match=r"of convolutions and poolings, got a Linear"):
        receptive_field([nn.Linear(2, 2)])
