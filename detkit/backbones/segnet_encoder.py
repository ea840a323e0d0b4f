"""The encoders of SegNet and SegNet-Basic, which keep their max-pooling indices."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import VGG16_BN_Weights

from detkit.backbones.backbone import Backbone
from detkit.backbones.convolutional_vgg16 import VGG16_BLOCKS
from detkit.backbones.local_contrast import LocalContrastNormalization
from detkit.backbones.pretrained import LoadReport, download, load_matching, read_state_dict
from detkit.backbones.published import torchvision_file
from detkit.backbones.weights_sources import torchvision_source
from detkit.structures import WeightsSource


class PoolingIndicesEncoder(Backbone):
    """A chain of layers that gives its last map and the indices of all its max poolings.

    Args:
        layers: among them 2x2 max poolings.
        levels: the channels of the convolutions of each level.

    Attributes:
        levels: as given; decoders mirror them.
    """

    def __init__(self, layers: Sequence[nn.Module], levels: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.features = nn.Sequential(*layers)
        self.levels = [list(level) for level in levels]
        self.channels, self.strides = [self.levels[-1][-1]], [2 ** len(levels)]

    def forward(self, images: Tensor) -> list[Tensor]:
        """The indices of each pooling, finest first, then the last map, of `images` ``(B, 3, H, W)``.

        Indices are int64 of the shape of the pooled map: where each maximum was in the flattened map before, as of
        `torch.nn.functional.max_pool2d`. Poolings round odd sizes up.
        """
        x, indices = images, []
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                x, own = F.max_pool2d(x, 2, 2, ceil_mode=True, return_indices=True)
                indices.append(own)
            else:
                x = layer(x)
        return [*indices, x]


class SegNetEncoder(PoolingIndicesEncoder):
    """The 13 convolutions of VGG-16 with batch norm (Badrinarayanan 2015, section 3 and figure 2).

        images -> 64, 64 -> pool -> 128, 128 -> pool -> 256, 256, 256 -> pool -> 512, 512, 512 -> pool
               -> 512, 512, 512 -> pool -> map, and the indices of the five poolings

    Parameters keep the names of torchvision's ``vgg16_bn``.

    Args:
        width: factor of all channels.
        weights: None for random weights in He's initialization; the path of a weights file of ``vgg16_bn`` with
            torchvision's names; or ``DEFAULT`` for torchvision's published ones. Both need `width` 1.

    Attributes:
        load_report: what was loaded, or None.

    Raises:
        InputError: a weights file that does not fit, or weights that cannot be downloaded.
    """

    def __init__(self, width: float = 1.0, weights: str | None = None) -> None:
        levels = [[max(1, round(width * count)) for count in block] for block in VGG16_BLOCKS]
        layers: list[nn.Module] = []
        before = 3
        for block in levels:
            for count in block:
                layers += normalized_convolution(before, count, 3)
                before = count
            layers.append(nn.MaxPool2d(2))
        super().__init__(layers, levels)
        self.load_report: LoadReport | None = None
        if weights == "DEFAULT":
            published = download(
                "vgg16_bn",
                partial(VGG16_BN_Weights.DEFAULT.get_state_dict, check_hash=True),
                torchvision_file("vgg16_bn"),
            )
            self.load_report = load_matching(self, published, source="torchvision's vgg16_bn")
            self.weights_source = torchvision_source("vgg16_bn", "IMAGENET1K_V1")
        elif weights is not None:
            self.load_report = load_matching(self, read_state_dict(weights), source=str(weights))
            self.weights_source = WeightsSource.of_file("vgg16_bn", weights)


class SegNetBasicEncoder(PoolingIndicesEncoder):
    """Four levels of one 7x7 convolution with batch norm and a pooling (Badrinarayanan 2015, section 3.1).

    Args:
        width: factor of all channels.
        contrast: normalizes the images first, as the paper does (section 4); None leaves them as they are.
    """

    def __init__(self, width: float = 1.0, contrast: LocalContrastNormalization | None = None) -> None:
        channels = max(1, round(width * 64))
        layers: list[nn.Module] = []
        for before in (3, channels, channels, channels):
            layers += [*normalized_convolution(before, channels, 7), nn.MaxPool2d(2)]
        super().__init__(layers, [[channels]] * 4)
        self.contrast = contrast

    def forward(self, images: Tensor) -> list[Tensor]:
        """See `PoolingIndicesEncoder.forward`."""
        return super().forward(images if self.contrast is None else self.contrast(images))


def normalized_convolution(before: int, after: int, size: int, bias: bool = True) -> list[nn.Module]:
    """A convolution that keeps the size, batch norm and ReLU; in the authors' initialization."""
    conv, norm = nn.Conv2d(before, after, size, padding=size // 2, bias=bias), nn.BatchNorm2d(after)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    nn.init.constant_(norm.bias, 0.001)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return [conv, norm, nn.ReLU(inplace=True)]
