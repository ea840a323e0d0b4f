"""SegNet and SegNet-Basic: the authors' sizes and layers, and unpooling by indices."""

from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models.vgg import cfgs, make_layers

from detkit.backbones import SegNetBasicEncoder, SegNetEncoder
from detkit.errors import InputError
from detkit.heads import SegNetHead
from detkit.models import SegNet, SegNetBasic, with_classes
from detkit.structures import Target

NETS = {
    "segnet": lambda width, classes: SegNet(SegNetEncoder(width), classes),
    "basic": lambda width, classes: SegNetBasic(SegNetBasicEncoder(width), classes),
}


def written_out(model, x):
    """The prototxt's layers one after the other, with unpooling as assignments."""
    indices, sizes = [], []
    for layer in model.backbone.features:
        if isinstance(layer, nn.MaxPool2d):
            sizes.append(x.shape)
            x, own = F.max_pool2d(x, 2, 2, ceil_mode=True, return_indices=True)
            indices.append(own)
        else:
            x = layer(x)
    for level in reversed(model.head.levels):
        restored = torch.zeros(sizes.pop(), dtype=x.dtype)
        own = indices.pop()
        for image in range(len(x)):
            for channel in range(x.shape[1]):
                restored[image, channel].view(-1)[own[image, channel].flatten()] = x[image, channel].flatten()
        x = level(restored)
    return model.head.classes(x)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("size", [(33, 41), (32, 64), (1, 17)])
def test_logits_are_those_of_the_layers_written_out(name, size):
    torch.manual_seed(torch.seed() % 2**31)
    model = NETS[name](1 / 32, 3).double().eval()
    images = torch.rand(2, 3, *size, dtype=torch.float64)
    logits = model.raw(images).logits
    assert logits.shape == (2, 3, *size)
    assert torch.allclose(logits, written_out(model, images))


class TestSegNet:
    def test_it_has_the_papers_layers(self):
        with torch.device("meta"):
            model = SegNet(SegNetEncoder(), 11)
        decoder = [*(one for level in reversed(model.head.levels) for one in level), model.head.classes]
        encoded, decoded = (
            [one for one in part if isinstance(one, nn.Conv2d)] for part in (model.backbone.features, decoder)
        )
        widths = [3, 64, 64, 128, 128, 256, 256, 256, *[512] * 6]
        assert [(one.in_channels, one.out_channels) for one in encoded] == list(pairwise(widths))
        assert [(one.in_channels, one.out_channels) for one in decoded] == list(pairwise([*widths[:0:-1], 11]))
        assert all(one.kernel_size == (3, 3) for one in encoded + decoded)
        assert [type(one) for one in decoder[-4:]] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.Conv2d]
        assert sum(isinstance(one, nn.BatchNorm2d) for one in model.modules()) == 25
        encoder = sum(one.numel() for one in model.backbone.parameters())
        whole = sum(one.numel() for one in model.parameters())
        assert encoder == pytest.approx(14.7e6, abs=0.05e6)  # the paper's
        assert whole == pytest.approx(29.5e6, abs=0.06e6)

    def test_the_maps_of_camvid_are_the_authors(self):
        with torch.device("meta"):
            model = SegNet(SegNetEncoder(), 11)
        images = torch.empty(1, 3, 360, 480, device="meta")
        sizes = [tuple(one.shape[-2:]) for one in model.backbone(images)]
        assert sizes == [(180, 240), (90, 120), (45, 60), (23, 30), (12, 15), (12, 15)]
        assert model.raw(images).logits.shape == (1, 11, 360, 480)

    def test_it_loads_vgg16_bn(self, tmp_path):
        features = make_layers(cfgs["D"], batch_norm=True).eval()
        torch.save({f"features.{name}": one for name, one in features.state_dict().items()}, tmp_path / "vgg.pth")
        encoder = SegNetEncoder(weights=str(tmp_path / "vgg.pth")).eval()
        assert not encoder.load_report.missing
        assert not encoder.load_report.mismatched
        images = torch.rand(1, 3, 64, 32)
        with torch.no_grad():
            assert torch.allclose(encoder(images)[-1], features(images), atol=1e-6)


class TestSegNetBasic:
    def test_it_has_the_papers_layers(self):
        model = SegNetBasic(SegNetBasicEncoder(), 11)
        convolutions = [one for one in model.modules() if isinstance(one, nn.Conv2d)]
        assert [one.kernel_size[0] for one in convolutions] == [7] * 8 + [1]
        assert [one.bias is None for one in convolutions] == [False] * 4 + [True] * 4 + [False]
        assert not any(isinstance(one, nn.ReLU) for one in model.head.modules())

    def test_all_batch_norms_begin_with_the_authors_shift(self):
        model = SegNetBasic(SegNetBasicEncoder(1 / 32), 11)
        norms = [one for one in model.modules() if isinstance(one, nn.BatchNorm2d)]
        assert len(norms) == 8
        assert all((one.bias == torch.tensor(0.001)).all() for one in norms)


def test_the_last_convolution_takes_other_classes():
    model = SegNet(SegNetEncoder(1 / 32), 2)
    model.categories = ["sky", "road"]
    other = with_classes(model, ["road", "tree", "sky"])
    assert torch.equal(other.head.classes.weight[[2, 0]], model.head.classes.weight)


@pytest.mark.parametrize("name", NETS)
def test_every_parameter_learns(name):
    model = NETS[name](1 / 32, 3).train()
    maps = [torch.randint(0, 3, size, dtype=torch.uint8) for size in ((33, 41), (20, 50))]
    losses = model([torch.rand(3, *one.shape) for one in maps], [Target(label_map=one) for one in maps])
    losses["semantic"].backward()
    assert all(one.grad is not None and one.grad.isfinite().all() for one in model.parameters())


def test_an_encoder_of_other_levels_is_refused():
    with pytest.raises(InputError, match=r"needs a map of 8 channels and stride 4 .*, got \[16\] and \[8\]"):
        SegNetHead([16], [8], 3, levels=[[4], [8]])
