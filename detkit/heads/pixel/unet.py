"""The head of U-Net: its expansive path."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.backbones.unet_encoder import he_normal_, two_convolutions
from detkit.errors import InputError
from detkit.heads.class_rows import ClassRows
from detkit.heads.context import Context
from detkit.heads.pixel.criteria import PixelCriterion
from detkit.heads.pixel.pixel_head import PixelHead, PixelOutput


class UNetHead(PixelHead):
    """From the coarsest map up: an up-convolution, a copy of the finer map beside it, two 3x3 convolutions, at each
    level; at last a 1x1 convolution (Ronneberger 2015, figure 1).

        coarsest map -> 2x2 up-conv -+-> concat -> 2 3x3 convs -> 2x2 up-conv -+-> ... -> 1x1 conv -> logits (K, h, w)
           next finer map -> crop ---+               next finer map -> crop ---+

    The 3x3 convolutions have ReLU. Up-convolutions have none, as in the figure; in the network that the authors
    released they have.

    Args:
        channels: of the backbone's maps, finest first; an up-convolution gives as many as the finer map has, which in
            U-Net halves them.
        strides: of the same; each a multiple of the one before.
        num_classes: classes, background included where the data has it.
        padded: pad each convolution by one pixel, and bring each up-convolution to the size of the finer map. Without,
            as in the paper, copies are the centers of finer maps, and logits lack a margin of the image. Then the
            finest map must have stride 1.
        weighted: multiply losses by the ``pixel_weights`` of targets, such as the paper's weights of borders between
            touching cells (section 3, equation 2).
        criteria: see `PixelHead`.

    Raises:
        InputError: strides that do not fit.
    """

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        num_classes: int,
        padded: bool = True,
        weighted: bool = False,
        criteria: Mapping[str, PixelCriterion] | None = None,
    ) -> None:
        super().__init__(num_classes, criteria)
        factors = [coarse // fine for fine, coarse in pairwise(strides)]
        fits = all(coarse % fine == 0 and coarse > fine for fine, coarse in pairwise(strides))
        if not fits or (not padded and strides[0] > 1):
            raise InputError(
                f"UNetHead: each stride must be a multiple of the one before, and the first 1 without padding, got "
                f"{list(strides)}: choose other stages of the backbone, or padded=True"
            )
        if weighted:
            self.learns_from = frozenset({"label_map", "pixel_weights"})
        self.padded = padded
        steps = list(zip(reversed(channels[1:]), reversed(channels[:-1]), reversed(factors), strict=True))
        self.up = nn.ModuleList(_up_convolution(*step) for step in steps)
        self.levels = nn.ModuleList(two_convolutions(2 * fine, fine, padded) for _, fine, _ in steps)
        self.classes = nn.Conv2d(channels[0], num_classes, 1)
        he_normal_(self.classes)

    def class_rows(self) -> Mapping[str, ClassRows]:
        """The outputs of the last convolution."""
        return {"classes": ClassRows(he_normal_)}

    def forward(self, features: Sequence[Tensor], context: Context) -> PixelOutput:
        """Logits ``(B, K, h, w)`` at the resolution of the finest map, without the margin if not `padded`."""
        x = features[-1]
        for up, level, finer in zip(self.up, self.levels, reversed(features[:-1]), strict=True):
            x = up(x)
            x, copy = (_crop_or_pad(x, finer.shape), finer) if self.padded else (x, _center_crop(finer, x.shape))
            x = level(torch.cat((copy, x), dim=1))
        margin = 0 if self.padded else (context.batch.padded_size[0] - x.shape[-2]) // 2
        return PixelOutput(self.classes(x), margin=margin)


def _up_convolution(coarse: int, fine: int, factor: int) -> nn.ConvTranspose2d:
    layer = nn.ConvTranspose2d(coarse, fine, factor, stride=factor)
    # Each output sees one input of each channel.
    nn.init.normal_(layer.weight, std=math.sqrt(2 / coarse))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _center_crop(x: Tensor, size: Sequence[int]) -> Tensor:
    """The center of `x` of the height and width of `size`, the last two."""
    top, left = (x.shape[-2] - size[-2]) // 2, (x.shape[-1] - size[-1]) // 2
    return x[..., top : top + size[-2], left : left + size[-1]]


def _crop_or_pad(x: Tensor, size: Sequence[int]) -> Tensor:
    """`x` cropped, or padded with zeros, at the right and the bottom: poolings round odd sizes up or down."""
    return F.pad(x, (0, size[-1] - x.shape[-1], 0, size[-2] - x.shape[-2]))
