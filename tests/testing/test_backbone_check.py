"""check_backbone takes every backbone of detkit, and names each rule that a broken one breaks."""

import pytest
import torch
from torch import nn

from detkit.backbones import (
    AlexNet,
    Backbone,
    CSPDarknetTiny,
    DarknetTiny,
    DilatedVGG16,
    ImagePyramid,
    OverFeatFast,
    Pixels,
    TappedMobileNet,
    TimmBackbone,
    TorchvisionBackbone,
    UNetEncoder,
    ZFNet,
)
from detkit.testing import ContractError, check_backbone

LARGE = [(231, 231), (295, 327)]  # of nets that need a few hundred pixels


class TwoMaps(Backbone):
    """What the mutants change."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 6, 3, 2, 1)
        self.norm = nn.BatchNorm2d(4)
        self.channels, self.strides = [4, 6], [2, 4]

    def forward(self, images):
        fine = self.norm(self.first(images)).relu()
        return [fine, self.second(fine)]


SMALL = {
    "two maps": TwoMaps,
    "pixels": Pixels,
    "resnet": lambda: TorchvisionBackbone("resnet18", stages=[2, 3, 4, 5]),
    "mobilenet": lambda: TorchvisionBackbone("mobilenet_v3_small", stages=[3, 4, 5]),
    "timm": lambda: TimmBackbone("test_resnet"),
    "efficientnet": lambda: TimmBackbone("test_efficientnet"),
    "darknet": DarknetTiny,
    "csp": CSPDarknetTiny,
    "tapped": TappedMobileNet,
    "unet": lambda: UNetEncoder(1 / 32, padded=True),
    "pyramid": lambda: ImagePyramid(TimmBackbone("test_resnet", stages=[4]), [1.0, 1.5]),
}
HEAVY = {"alexnet": AlexNet, "zfnet": ZFNet, "vgg16": DilatedVGG16, "overfeat": OverFeatFast}


@pytest.mark.parametrize("name", SMALL)
def test_ours_pass(name):
    torch.manual_seed(0)
    check_backbone(SMALL[name]())


@pytest.mark.slow
@pytest.mark.parametrize("name", HEAVY)
def test_ours_that_are_large_pass(name):
    torch.manual_seed(0)
    check_backbone(HEAVY[name](), LARGE)


class AnnouncedLate(TwoMaps):
    def __init__(self):
        super().__init__()
        self.channels = None

    def forward(self, images):
        self.channels = [4, 6]
        return super().forward(images)


class CoarsestFirst(TwoMaps):
    def __init__(self):
        super().__init__()
        self.channels, self.strides = [6, 4], [4, 2]

    def forward(self, images):
        return super().forward(images)[::-1]


class OneStrideFewer(TwoMaps):
    def __init__(self):
        super().__init__()
        self.strides = [2]


class WrongStride(TwoMaps):
    def __init__(self):
        super().__init__()
        self.strides = [2, 8]


class FinerThanSaid(TwoMaps):
    def __init__(self):
        super().__init__()
        self.strides = [1, 4]


class WrongChannels(TwoMaps):
    def __init__(self):
        super().__init__()
        self.channels = [4, 5]


class Tuple(TwoMaps):
    def forward(self, images):
        return tuple(super().forward(images))


class OneMap(TwoMaps):
    def forward(self, images):
        return super().forward(images)[:1]


class EvenSizesAlone(TwoMaps):
    def forward(self, images):
        fine, coarse = super().forward(images)
        return [fine + nn.functional.interpolate(self.second(fine), scale_factor=2)[:, :4], coarse]


class AcrossTheBatch(TwoMaps):
    def forward(self, images):
        return super().forward(images - images.mean())


class Random(TwoMaps):
    def forward(self, images):
        return super().forward(nn.functional.dropout(images))


class InPlace(TwoMaps):
    def forward(self, images):
        return super().forward(images.sub_(0.5))


class Detached(TwoMaps):
    def forward(self, images):
        fine, coarse = super().forward(images)
        return [fine, coarse.detach()]


class Unused(TwoMaps):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 10)


class PlainTensor(TwoMaps):
    def __init__(self):
        super().__init__()
        self.mean = torch.zeros(3, 1, 1)


class OnlyFloat32(TwoMaps):
    def forward(self, images):
        fine, coarse = super().forward(images)
        return [torch.zeros(fine.shape).index_add_(1, torch.arange(4), fine), coarse]


class NotPickled(TwoMaps):
    def __init__(self):
        super().__init__()
        self.activation = lambda x: x


class LargerInTraining(TwoMaps):
    def forward(self, images):
        return super().forward(nn.functional.interpolate(images, scale_factor=2) if self.training else images)


class NeedsImages(TwoMaps):
    def forward(self, images):
        return super().forward(torch.stack(list(images)))


class NotFinite(TwoMaps):
    def forward(self, images):
        fine, coarse = super().forward(images)
        return [fine, coarse / (coarse - coarse)]


class OutsideOfTheState(TwoMaps):
    def state_dict(self, *arguments, **options):
        return {name: value for name, value in super().state_dict(*arguments, **options).items() if "norm" not in name}


@pytest.mark.parametrize(
    ("mutant", "words"),
    [
        (AnnouncedLate, r"channels must be a list of positive numbers, .* before any forward: got None"),
        (CoarsestFirst, r"strides must begin with the finest map: got \[4, 2\]"),
        (OneStrideFewer, r"announces 2 channels and 1 strides"),
        (WrongStride, r"map 1 has 25 cells for 97 pixels, which does not go with its stride 8"),
        (FinerThanSaid, r"map 0 grows by 64 cells where the image grows by 128 pixels, which is 128 cells of stride 1"),
        (WrongChannels, r"map 1 must be \(2, 5, H, W\), by channels\[1\]: got \(2, 6, 25, 33\)"),
        (Tuple, r"must return a list of maps: got tuple"),
        (OneMap, r"announces 2 maps and returns 1"),
        (EvenSizesAlone, r"EvenSizesAlone\(images \(2, 3, 97, 131\)\) raises RuntimeError"),
        (AcrossTheBatch, r"the maps of an image depend on the others of its batch"),
        (Random, r"other maps for the same images in eval mode"),
        (InPlace, r"changes the images that it is given"),
        (Detached, r"no gradient of map 1 reaches the image"),
        (Unused, r"no gradient reaches fc.weight, fc.bias"),
        (PlainTensor, r"the tensor mean is a plain attribute"),
        (OnlyFloat32, r"under torch.autocast in bfloat16 raises RuntimeError"),
        (NotPickled, r"pickle.dumps of the NotPickled raises"),
        (LargerInTraining, r"in training mode and .* in eval mode: let training change no shape"),
        (NeedsImages, r"NeedsImages of no images raises RuntimeError"),
        (NotFinite, r"map 1 holds values that are not finite"),
        (OutsideOfTheState, r"load_state_dict of its own state_dict raises RuntimeError"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_names_the_broken_rule(mutant, words):
    torch.manual_seed(0)
    with pytest.raises(ContractError, match=words):
        check_backbone(mutant())


def test_leaves_the_backbone_as_it_is():
    backbone = TwoMaps()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    check_backbone(backbone)
    assert backbone.training
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())
    assert all(parameter.grad is None for parameter in backbone.parameters())
