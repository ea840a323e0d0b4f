"""The contracting path of U-Net."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from detkit.backbones.backbone import Backbone
from detkit.errors import InputError

_CHANNELS = (64, 128, 256, 512, 1024)
_LEAST_SIDE = 188  # of an image in pixels; an unpadded network answers for 184 less


class UNetEncoder(Backbone):
    """Five levels of two 3x3 convolutions with ReLU, and 2x2 max poolings between them (Ronneberger 2015, figure 1).

        images -> 64, 64 -+-> pool -> 128, 128 -+-> pool -> ... -> pool -> 1024, 1024 -> map
                          +-> map               +-> map

    Convolutions begin with He's initialization (section 3), and there is no batch norm. Dropout is at the end of the
    path, as in the network that the authors released: after the two coarsest levels, before a copy is taken.

    Args:
        width: factor of all channels.
        padded: pad each convolution by one pixel, so that maps keep their size. It is not the paper's: its convolutions
            are unpadded, take two pixels off each map, and need images with an even size at every pooling, as
            `detkit.preprocess.MirroredBorders` makes them.
        dropout: probability.

    Raises:
        InputError: in `forward`, images that an unpadded network cannot take.
    """

    def __init__(self, width: float = 1.0, padded: bool = False, dropout: float = 0.5) -> None:
        super().__init__()
        self.channels = [max(1, round(width * count)) for count in _CHANNELS]
        self.strides = [2**level for level in range(len(_CHANNELS))]
        self.padded = padded
        self.levels = nn.ModuleList(
            two_convolutions(before, after, padded)
            for before, after in zip([3, *self.channels], self.channels, strict=False)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, images: Tensor) -> list[Tensor]:
        """The maps of all levels of `images` ``(B, 3, H, W)``, before their poolings."""
        if not self.padded:
            _check_sides(images.shape[-2], images.shape[-1])
        x, maps = images, []
        for number, level in enumerate(self.levels, 1):
            x = level(x if number == 1 else F.max_pool2d(x, 2))
            if number > 3:
                x = self.dropout(x)
            maps.append(x)
        return maps


def _check_sides(height: int, width: int) -> None:
    """Whether the size is even at each of the four poolings, and something is left at the end."""
    if min(height, width) < _LEAST_SIDE or (height - _LEAST_SIDE) % 16 or (width - _LEAST_SIDE) % 16:
        raise InputError(
            f"an unpadded U-Net cannot take images of {height} x {width} pixels: sides must be {_LEAST_SIDE}, "
            f"{_LEAST_SIDE + 16}, {_LEAST_SIDE + 32} and so on; use preprocess=MirroredBorders(), which makes them"
        )


def two_convolutions(before: int, after: int, padded: bool) -> nn.Sequential:
    """Two 3x3 convolutions, each with ReLU, in He's initialization: normal of variance ``2 / N`` for N inputs."""
    layers: list[nn.Module] = []
    for channels in (before, after):
        conv = nn.Conv2d(channels, after, 3, padding=int(padded))
        he_normal_(conv)
        layers += [conv, nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def he_normal_(conv: nn.Conv2d | nn.ConvTranspose2d) -> None:
    """He's normal initialization of a convolution, its biases 0."""
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
