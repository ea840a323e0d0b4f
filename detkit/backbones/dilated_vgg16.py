"""SSD's backbone: VGG-16, with the first two layers of its classifier turned into (dilated) convolutions."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import VGG16_Weights

from detkit.backbones.backbone import Backbone, freeze
from detkit.backbones.pretrained import LoadReport, download, load_matching, read_state_dict
from detkit.backbones.published import torchvision_file
from detkit.backbones.weights_sources import torchvision_source
from detkit.structures import WeightsSource

# Decimation of the 4096 channels of fc6 and fc7 to 1024, and of fc6's window of 7 x 7 cells to 3 x 3.
_EVERY_CHANNEL = 4
_EVERY_CELL = 3

_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class DilatedVGG16(Backbone):
    """VGG-16 that returns the maps of conv4_3 and fc7 (Liu 2016, section 3, "Base network", and figure 2).

        images -> conv1_1 .. conv4_3 -+-> pool4 .. conv5_3 -> pool5, 3x3/1 -> fc6, 3x3 dilated by 6 -> fc7, 1x1 -> map
                                      +-> map

    pool3 rounds up, which gives 38 x 38 and 19 x 19 cells at 300 pixels. Parameters of the convolutions keep
    torchvision's names (``features.0.weight`` …).

    Args:
        weights: None for random weights; the path of a weights file of VGG-16 with torchvision's names, from whose
            classifier fc6 and fc7 get every fourth channel and every third cell (the decimation of DeepLab-LargeFOV,
            which the paper adopts); or ``DEFAULT`` for torchvision's ``IMAGENET1K_FEATURES``, the weights of VGG's
            authors without the classifier. These were trained on pixels in 0..255 minus their mean: see `SSD`.
        frozen_stages: this many of the five blocks, conv1 to conv5, are not trained; the authors train all.

    Attributes:
        load_report: what was loaded from a weights file, or None.

    Raises:
        InputError: a weights file that does not fit.
    """

    def __init__(self, weights: str | None = None, frozen_stages: int = 0) -> None:
        super().__init__()
        self.channels, self.strides = [512, 1024], [8, 16]
        self.features = nn.Sequential(*_features())
        pools = [index for index, layer in enumerate(self.features) if isinstance(layer, nn.MaxPool2d)]
        self._fine_end = pools[-1]
        self.pool5 = nn.MaxPool2d(3, stride=1, padding=1)
        self.fc6 = nn.Conv2d(512, 1024, 3, padding=6, dilation=6)
        self.fc7 = nn.Conv2d(1024, 1024, 1)
        self._initialize()
        self.load_report: LoadReport | None = None
        if weights == "DEFAULT":
            published = download(
                "vgg16",
                partial(VGG16_Weights.IMAGENET1K_FEATURES.get_state_dict, check_hash=True),
                torchvision_file("vgg16", "IMAGENET1K_FEATURES"),
            )
            self.load_report = load_matching(self, _converted(published), source="torchvision's vgg16")
        elif weights is not None:
            self.load_report = load_matching(self, _converted(read_state_dict(weights)), source=str(weights))
        if weights is not None:
            self.weights_source = (
                torchvision_source("vgg16", "IMAGENET1K_FEATURES")
                if weights == "DEFAULT"
                else WeightsSource.of_file("vgg16", weights)
            )
        if frozen_stages:
            freeze(self.features[: [*pools, len(self.features)][frozen_stages - 1]].parameters())

    def forward(self, images: Tensor) -> list[Tensor]:
        """The maps of strides 8 and 16 of `images` ``(B, 3, H, W)``."""
        x = images
        for index, layer in enumerate(self.features):
            if index == self._fine_end:
                fine = x
            x = layer(x)
        x = F.relu(self.fc6(self.pool5(x)))
        return [fine, F.relu(self.fc7(x))]

    def _initialize(self) -> None:
        """He initialization, for training from random weights; the paper's "xavier" for its own layers."""
        for layer in self.features:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        for layer in (self.fc6, self.fc7):
            nn.init.xavier_uniform_(layer.weight)
        for layer in (*self.features, self.fc6, self.fc7):
            if isinstance(layer, nn.Conv2d) and layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _features() -> list[nn.Module]:
    """conv1_1 to conv5_3, with the poolings between the blocks."""
    layers: list[nn.Module] = []
    channels = 3
    for block, widths in enumerate(_BLOCKS):
        if block:
            layers.append(nn.MaxPool2d(2, 2, ceil_mode=block == 3))
        for width in widths:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
            channels = width
    return layers


def _converted(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of VGG-16 by their names here, with the fully connected layers decimated to convolutions."""
    converted = {name: tensor for name, tensor in state_dict.items() if not name.startswith("classifier.")}
    # torchvision's file without the classifier has NaN in its place.
    if all(tensor.isfinite().all() for name, tensor in state_dict.items() if name.startswith("classifier.")):
        for name, layer in (("fc6", "classifier.0"), ("fc7", "classifier.3")):
            if f"{layer}.weight" in state_dict:
                converted[f"{name}.weight"] = _thinned(state_dict[f"{layer}.weight"])
                converted[f"{name}.bias"] = state_dict[f"{layer}.bias"][::_EVERY_CHANNEL]
    return converted


def _thinned(weight: Tensor) -> Tensor:
    """fc6's ``(4096, 512 * 7 * 7)`` as ``(1024, 512, 3, 3)``, fc7's ``(4096, 4096)`` as ``(1024, 1024, 1, 1)``."""
    if weight.shape[1] == 512 * 7 * 7:
        return weight.view(-1, 512, 7, 7)[::_EVERY_CHANNEL, :, ::_EVERY_CELL, ::_EVERY_CELL]
    return weight[::_EVERY_CHANNEL, ::_EVERY_CHANNEL, None, None]
