"""U-Net: the sizes and the layers of its figure, answers for whole images, weights of pixels, and other backbones."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from detkit.backbones import TorchvisionBackbone, UNetEncoder
from detkit.errors import InputError
from detkit.heads import UNetHead
from detkit.models import UNet, with_classes
from detkit.preprocess import MirroredBorders, OriginalSize
from detkit.structures import Target

CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)


def figure(model, x):
    """The arrows of figure 1, written out."""
    copies, levels = [], model.backbone.levels
    for number, level in enumerate(levels):
        x = F.max_pool2d(x, 2) if number else x
        for conv in (level[0], level[2]):
            x = F.conv2d(x, conv.weight, conv.bias).relu()
        copies.append(x)
    for offset, up, level, copy in zip((4, 16, 40, 88), model.head.up, model.head.levels, copies[-2::-1], strict=True):
        x = F.conv_transpose2d(x, up.weight, up.bias, stride=2)
        x = torch.cat((copy[..., offset:-offset, offset:-offset], x), 1)
        for conv in (level[0], level[2]):
            x = F.conv2d(x, conv.weight, conv.bias).relu()
    return F.conv2d(x, model.head.classes.weight, model.head.classes.bias)


class TestThePapersNet:
    def test_it_has_23_convolutions_and_the_sizes_of_the_figure(self):
        with torch.device("meta"):
            model = UNet(UNetEncoder(), 2)
        images = torch.empty(1, 3, 572, 572, device="meta")
        maps = model.backbone(images)
        assert [tuple(one.shape[1:]) for one in maps] == [
            (64, 568, 568), (128, 280, 280), (256, 136, 136), (512, 64, 64), (1024, 28, 28)
        ]  # fmt: skip
        raw = model.raw(images)
        assert (tuple(raw.logits.shape), raw.margin) == ((1, 2, 388, 388), 92)
        assert sum(isinstance(one, CONVOLUTIONS) for one in model.modules()) == 23
        assert sum(one.numel() for one in model.parameters()) == 31_031_810

    def test_its_arrows_are_those_of_the_figure(self):
        torch.manual_seed(torch.seed() % 2**31)
        model = UNet(UNetEncoder(1 / 32), 3).double().eval()
        images = torch.rand(1, 3, 204, 220, dtype=torch.float64)
        raw = model.raw(images)
        assert (tuple(raw.logits.shape), raw.margin) == ((1, 3, 20, 36), 92)
        assert torch.allclose(raw.logits, figure(model, images))

    def test_its_initialization_is_hes(self):
        for layer in UNet(UNetEncoder(1 / 4), 2).modules():
            if isinstance(layer, nn.Conv2d) and layer.weight.numel() > 4000:
                inputs = layer.in_channels * layer.kernel_size[0] ** 2
                assert layer.weight.std().item() == pytest.approx((2 / inputs) ** 0.5, rel=0.1)

    def test_dropout_is_at_the_end_of_the_contracting_path(self):
        encoder, images = UNetEncoder(1 / 32).train(), torch.rand(1, 3, 188, 188)
        same = [torch.equal(one, other) for one, other in zip(encoder(images), encoder(images), strict=True)]
        assert same == [True, True, True, False, False]

    @pytest.mark.parametrize("size", [(572, 570), (571, 572), (172, 188), (100, 100)])
    def test_sizes_that_a_pooling_would_cut_are_refused(self, size):
        with pytest.raises(
            InputError, match=rf"{size[0]} x {size[1]} pixels: sides must be 188, 204, .*MirroredBorders"
        ):
            UNetEncoder(1 / 32)(torch.rand(1, 3, *size))

    @pytest.mark.parametrize("sizes", [[(33, 41)], [(1, 1), (33, 41), (20, 100)]])
    def test_the_answer_covers_the_whole_image(self, sizes):
        torch.manual_seed(torch.seed() % 2**31)
        model = UNet(UNetEncoder(1 / 32), 3).eval()
        images = [torch.rand(3, *size) for size in sizes]
        answers = model(images)
        for image, answer in zip(images, answers, strict=True):
            assert answer.label_map.shape == image.shape[1:]
            height, width = image.shape[1:]
            # By hand: mirrored at the centers of the outermost pixels, as often as needed.
            rows, columns = (
                torch.tensor([_mirrored(place - 92, side) for place in range(_next(side) + 184)])
                for side in (height, width)
            )
            pixels = (image - model.preprocess.mean) / model.preprocess.std
            logits = figure(model, pixels[None][:, :, rows][..., columns])[0, :, :height, :width]
            assert (answer.label_map == logits.argmax(0)).float().mean() > 0.99

    def test_each_pixel_that_it_learns_from_is_one_that_it_answers_for(self):
        """A wrong shift between logits and labels would show: logits are set to the very labels."""
        model = UNet(UNetEncoder(1 / 32), 4).eval()
        label_map = torch.randint(0, 4, (33, 41), dtype=torch.uint8)
        context = model.context([torch.rand(3, 33, 41)], [Target(label_map=label_map)])
        raw = model.head.ideal(model.heads(model.features(context.batch), context), context)
        assert torch.equal(model.decode(raw, context)[0].label_map, label_map)
        assert model.losses(raw, context)["semantic"] < 1e-6


def _mirrored(place, side):
    while side > 1 and not 0 <= place < side:
        place = -place if place < 0 else 2 * (side - 1) - place
    return place if side > 1 else 0


def _next(side):
    return next(answer for answer in range(4, 4 + 16 * 100, 16) if answer >= side)


class TestPadded:
    @pytest.mark.parametrize("size", [(33, 41), (16, 16), (50, 37)])
    def test_it_answers_for_all_that_it_gets(self, size):
        model = UNet(UNetEncoder(1 / 32, padded=True), 3)
        raw = model.raw(torch.rand(2, 3, *size))
        assert (raw.logits.shape, raw.margin) == ((2, 3, *size), 0)
        assert isinstance(model.preprocess, OriginalSize)

    def test_it_has_the_layers_of_the_papers(self):
        shapes = [
            [tuple(one.shape) for one in UNet(UNetEncoder(1 / 32, padded=padded), 3).state_dict().values()]
            for padded in (False, True)
        ]
        assert shapes[0] == shapes[1]


class TestAnyBackbone:
    @pytest.mark.parametrize("stages", [[1, 2, 3, 4, 5], [2, 3], [2, 4]])
    def test_it_takes_the_expansive_path(self, stages):
        model = UNet(TorchvisionBackbone("resnet18", stages=stages), 3)
        images = [torch.rand(3, 33, 41)]
        losses = model(images, [Target(label_map=torch.zeros(33, 41, dtype=torch.uint8))])
        losses["semantic"].backward()
        assert all(one.grad is not None for one in model.parameters())
        assert model.eval()(images)[0].label_map.shape == (33, 41)

    def test_an_unpadded_head_needs_a_map_of_every_pixel(self):
        with pytest.raises(InputError, match=r"the first 1 without padding, got \[4, 8\]"):
            UNetHead([8, 8], [4, 8], 3, padded=False)


class TestWeights:
    def _losses(self, weighted, weights):
        torch.manual_seed(0)
        model = UNet(UNetEncoder(1 / 32), 3, weighted=weighted).eval()
        label_map = torch.arange(33 * 41).remainder(3).view(33, 41).to(torch.uint8)
        targets = [Target(label_map=label_map, pixel_weights=one) for one in weights]
        return model([torch.full((3, 33, 41), 0.5)] * len(targets), targets)["semantic"].item()

    def test_the_loss_of_each_pixel_is_multiplied(self):
        rows, rest = torch.zeros(33, 41), torch.ones(33, 41)
        rows[:10], rest[:10] = 3.0, 0.0
        both = self._losses(True, [rows]) / 3 + self._losses(True, [rest])
        assert both == pytest.approx(self._losses(False, [None]), rel=1e-5)
        assert self._losses(True, [rows]) > 0

    def test_without_weights_all_are_1(self):
        alone = self._losses(False, [None, None])
        assert self._losses(True, [None, torch.ones(33, 41)]) == pytest.approx(alone)
        assert self._losses(False, [None, torch.zeros(33, 41)]) == pytest.approx(alone)

    def test_they_are_asked_for(self):
        assert UNet(UNetEncoder(1 / 32), 3, weighted=True).learns_from == {"label_map", "pixel_weights"}
        assert UNet(UNetEncoder(1 / 32), 3).learns_from == {"label_map"}


def test_other_classes_keep_the_rest():
    model = UNet(UNetEncoder(1 / 32), 2)
    model.categories = ["background", "cell"]
    other = with_classes(model, ["background", "border", "cell"])
    assert torch.equal(other.head.classes.weight[[0, 2]], model.head.classes.weight)
    assert torch.equal(other.head.up[0].weight, model.head.up[0].weight)


def test_the_margin_of_its_preprocessing_is_its_own():
    made = MirroredBorders().place((100, 50))
    assert made.size == (100 + 184, 52 + 184)
    assert made.window == (92, 92, 142, 192)
