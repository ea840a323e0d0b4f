"""The head of FCN: scores of coarse maps, upsampled and summed with those of finer ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from torch import Tensor, nn

from detkit.errors import InputError
from detkit.heads.class_rows import ClassRows
from detkit.heads.context import Context
from detkit.heads.pixel.bilinear_upsampling import BilinearUpsampling
from detkit.heads.pixel.criteria import PixelCriterion
from detkit.heads.pixel.pixel_head import PixelHead, PixelOutput


class ScoreSkipHead(PixelHead):
    """Class scores of each map by a 1x1 convolution, upsampled and summed from coarse to fine (Long 2015, figure 3).

        coarsest map   -> score (K) -> 2x ----+
        next finer map -> score (K) -> crop --+-> sum -> 2x --+
        next finer map -> score (K) -> crop ------------------+-> sum -> upsample -> crop -> logits (K, H, W)

    Upsampling is by transposed convolutions without bias that begin as bilinear interpolation; scores begin with zeros.
    Maps are cropped to where both are, so that cells lie over each other exactly: on `ConvolutionalVGG16` by the
    authors' 5 and 9 cells, and logits by 19 pixels in FCN-32s, 27 in FCN-16s and 31 in FCN-8s.

    Args:
        channels: of the backbone's maps, finest first.
        strides: of the same; each is twice the one before.
        num_classes: classes, background included where the data has it.
        skips: how many maps beside the coarsest are used: 0 is FCN-32s, 1 FCN-16s and 2 FCN-8s on VGG-16.
        skip_scales: a constant factor of each of these maps, coarsest first; None: 1. To train all at once, the authors
            take 0.01 of pool4 and 0.0001 of pool3.
        learned_upsampling: train the kernels of the 2x layers, as in the paper; else all stay bilinear, as in the
            authors' code. Those of the last layer always stay.
        origins: the pixel at which each map begins, see `detkit.backbones.Backbone`.
        criteria: see `PixelHead`.

    Raises:
        InputError: there are not so many maps, factors or origins, or a stride is not twice the one before.
    """

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        num_classes: int,
        skips: int = 2,
        skip_scales: Sequence[float] | None = None,
        learned_upsampling: bool = False,
        origins: Sequence[int] | None = None,
        criteria: Mapping[str, PixelCriterion] | None = None,
    ) -> None:
        super().__init__(num_classes, criteria)
        self.skip_scales = [1.0] * skips if skip_scales is None else list(skip_scales)
        self.origins = [0] * len(strides) if origins is None else list(origins)
        self.strides, self.skips = list(strides), skips
        self._check()
        # From the coarsest to the finest map, as they are used.
        scored = [nn.Conv2d(count, num_classes, 1) for count in reversed(channels[-1 - skips :])]
        for layer in scored:
            _zero(layer)
        self.scores = nn.ModuleList(scored)
        self.upscore2 = nn.ModuleList(BilinearUpsampling(num_classes, 2, learned_upsampling) for _ in range(skips))
        self.upscore = BilinearUpsampling(num_classes, strides[-1 - skips], learned=False)

    def class_rows(self) -> Mapping[str, ClassRows]:
        """The outputs of all layers."""
        scores = {f"scores.{index}": ClassRows(_zero) for index in range(self.skips + 1)}
        upsampled = {f"upscore2.{index}": ClassRows(_bilinear) for index in range(self.skips)}
        return scores | upsampled | {"upscore": ClassRows(_bilinear)}

    def forward(self, features: Sequence[Tensor], context: Context) -> PixelOutput:
        """Logits ``(B, K, H, W)`` at the size of the network's frame."""
        maps = list(zip(reversed(features), reversed(self.strides), reversed(self.origins), strict=True))
        coarsest, stride, origin = maps[0]
        scores = self.scores[0](coarsest)
        for index, (finer, finer_stride, finer_origin) in enumerate(maps[1 : self.skips + 1]):
            scores, stride, origin = self.upscore2[index](scores), finer_stride, _upsampled_origin(stride, origin)
            own = self.scores[index + 1](finer * self.skip_scales[index])
            scores, own, origin = _crop_to_overlap(scores, own, stride, origin, finer_origin)
            scores = scores + own
        height, width = context.batch.padded_size
        left = -_upsampled_origin(stride, origin)
        return PixelOutput(self.upscore(scores)[..., left : left + height, left : left + width])

    def _check(self) -> None:
        counts = (len(self.strides) > self.skips >= 0, len(self.skip_scales) == self.skips)
        if not all(counts) or len(self.origins) != len(self.strides):
            raise InputError(
                f"ScoreSkipHead: {self.skips} skips need more maps than that and as many skip_scales, got "
                f"{len(self.strides)} maps with {len(self.origins)} origins, and {len(self.skip_scales)} skip_scales"
            )
        used = self.strides[-1 - self.skips :]
        if any(2 * fine != coarse for fine, coarse in pairwise(used)):
            raise InputError(f"ScoreSkipHead: each stride must be twice the one before, got {self.strides}")


def _upsampled_origin(stride: int, origin: int) -> int:
    """Where a map begins once it is upsampled: half a cell earlier."""
    return origin - stride // 2


def _crop_to_overlap(
    first: Tensor, second: Tensor, stride: int, first_origin: int, second_origin: int
) -> tuple[Tensor, Tensor, int]:
    """Two maps of one stride where both are, and the pixel at which they begin then."""
    later = (first_origin - second_origin) // stride
    first, second = first[..., max(-later, 0) :, max(-later, 0) :], second[..., max(later, 0) :, max(later, 0) :]
    height, width = (min(first.shape[axis], second.shape[axis]) for axis in (-2, -1))
    return first[..., :height, :width], second[..., :height, :width], max(first_origin, second_origin)


def _zero(layer: nn.Conv2d) -> None:
    """The paper begins scores with zeros: random ones learned no faster."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def _bilinear(layer: BilinearUpsampling) -> None:
    layer.reset_parameters()
