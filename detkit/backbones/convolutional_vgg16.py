"""FCN's backbone: VGG-16 with its fully connected layers as convolutions."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torchvision.models import VGG16_Weights

from detkit.backbones.backbone import Backbone
from detkit.backbones.pretrained import LoadReport, download, load_matching, read_state_dict
from detkit.backbones.published import torchvision_file
from detkit.backbones.weights_sources import torchvision_source
from detkit.structures import WeightsSource

VGG16_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""The channels of the convolutions of VGG-16, conv1 to conv5; a pooling follows each block."""

_BORDER = 100  # of zeros around the image, so that even one pixel gives fc6 a whole window
_WINDOW = 7  # of fc6, in cells of pool5


class ConvolutionalVGG16(Backbone):
    """VGG-16 with fc6 and fc7 as convolutions, which returns the maps of pool3, pool4 and fc7 (Long 2015, section 4.1).

        images (3, H, W) -> 100 zeros around -> conv1 .. pool3 (256, stride 8) -> conv4, pool4 (512, stride 16)
                         -> conv5, pool5 (512, stride 32) -> fc6, 7x7 without padding -> fc7, 1x1 (4096, stride 32)

    The border makes any image give fc6 a whole window; maps begin at the `origins`. Poolings round up, as the authors'
    Caffe does. Convolutions keep torchvision's names, ``features.0.weight`` and so on.

    Args:
        width: factor of all channels.
        weights: None for random weights; the path of a weights file of VGG-16 with torchvision's names, whose
            ``classifier.0`` and ``classifier.3`` become fc6 and fc7; or ``DEFAULT`` for torchvision's published ones.
            Both need `width` 1.
        dropout: of fc6 and fc7.

    Attributes:
        load_report: what was loaded from a weights file, or None.

    Raises:
        InputError: a weights file that does not fit, or weights that cannot be downloaded.
    """

    def __init__(self, width: float = 1.0, weights: str | None = None, dropout: float = 0.5) -> None:
        super().__init__()
        widths = [[max(1, round(width * count)) for count in block] for block in VGG16_BLOCKS]
        hidden = max(1, round(width * 4096))
        self.channels, self.strides = [widths[2][-1], widths[3][-1], hidden], [8, 16, 32]
        # conv1_1 pads by one pixel anyway; a window of fc6 has its center half of its other cells later.
        self.origins = [1 - _BORDER, 1 - _BORDER, 1 - _BORDER + _WINDOW // 2 * 32]
        layers: list[nn.Module] = []
        before = 3
        for block in widths:
            for count in block:
                layers += [nn.Conv2d(before, count, 3, padding=1), nn.ReLU(inplace=True)]
                before = count
            layers.append(nn.MaxPool2d(2, 2, ceil_mode=True))
        layers[0] = nn.Conv2d(3, widths[0][0], 3, padding=_BORDER)
        self.features = nn.Sequential(*layers)
        self._pools = [index for index, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
        self.fc6 = nn.Conv2d(before, hidden, _WINDOW)
        self.fc7 = nn.Conv2d(hidden, hidden, 1)
        self.dropout = nn.Dropout(dropout)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d) and layer.bias is not None:
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
        self.load_report: LoadReport | None = None
        if weights == "DEFAULT":
            published = download(
                "vgg16",
                partial(VGG16_Weights.DEFAULT.get_state_dict, check_hash=True),
                torchvision_file("vgg16"),
            )
            converted = fully_connected_as_convolutions(published)
            self.load_report = load_matching(self, converted, source="torchvision's vgg16")
            self.weights_source = torchvision_source("vgg16", "IMAGENET1K_V1")
        elif weights is not None:
            converted = fully_connected_as_convolutions(read_state_dict(weights))
            self.load_report = load_matching(self, converted, source=str(weights))
            self.weights_source = WeightsSource.of_file("vgg16", weights)

    def forward(self, images: Tensor) -> list[Tensor]:
        """The maps of pool3, pool4 and fc7 of `images` ``(B, 3, H, W)``, with strides 8, 16 and 32."""
        x, pooled = images, []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self._pools:
                pooled.append(x)
        x = self.dropout(self.fc6(x).relu())
        x = self.dropout(self.fc7(x).relu())
        return [pooled[2], pooled[3], x]


def fully_connected_as_convolutions(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of torchvision's VGG-16 by the names of `ConvolutionalVGG16`: the same numbers in other shapes.

    fc6, ``classifier.0`` ``(4096, 512 * 7 * 7)``, becomes ``(4096, 512, 7, 7)``, and fc7, ``classifier.3`` ``(4096,
    4096)``, becomes ``(4096, 4096, 1, 1)`` (Long 2015, figure 2). The layer of ImageNet's classes is left out.
    """
    converted = {name: tensor for name, tensor in state_dict.items() if not name.startswith("classifier.")}
    for name, layer, window in (("fc6", "classifier.0", _WINDOW), ("fc7", "classifier.3", 1)):
        if f"{layer}.weight" in state_dict:
            converted[f"{name}.weight"] = torch.unflatten(state_dict[f"{layer}.weight"], 1, (-1, window, window))
            converted[f"{name}.bias"] = state_dict[f"{layer}.bias"]
    return converted
