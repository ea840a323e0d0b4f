"""The heads of SegNet and SegNet-Basic: decoders that unpool with the max-pooling indices of the encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from detkit.backbones.segnet_encoder import normalized_convolution
from detkit.errors import InputError
from detkit.heads.class_rows import ClassRows
from detkit.heads.context import Context
from detkit.heads.pixel.criteria import PixelCriterion
from detkit.heads.pixel.pixel_head import PixelHead, PixelOutput


class SegNetHead(PixelHead):
    """The mirror image of `SegNetEncoder`: at each level it unpools, then come the same convolutions backwards, with
    batch norm and ReLU; the last one, to the classes, is without (Badrinarayanan 2015, figure 2).

        map -> unpool -> 512, 512, 512 -> unpool -> 512, 512, 256 -> unpool -> 256, 256, 128 -> unpool -> 128, 64
            -> unpool -> 64 -> 3x3 conv -> logits

    Args:
        channels: that of the encoder's map.
        strides: that of the same.
        num_classes: classes, background included where the data has it.
        levels: the channels of the convolutions of each level of the encoder, finest first.
        criteria: see `PixelHead`.

    Raises:
        InputError: the encoder's map does not have the channels of the last level.
    """

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        num_classes: int,
        levels: Sequence[Sequence[int]],
        criteria: Mapping[str, PixelCriterion] | None = None,
    ) -> None:
        if list(channels) != [levels[-1][-1]] or list(strides) != [2 ** len(levels)]:
            raise InputError(
                f"{type(self).__name__} of {len(levels)} levels needs a map of {levels[-1][-1]} channels and stride "
                f"{2 ** len(levels)} with the indices of its poolings, got {list(channels)} and {list(strides)}: use "
                "detkit.backbones.SegNetEncoder"
            )
        super().__init__(num_classes, criteria)
        finer = [None, *levels]
        self.levels = nn.ModuleList(self._level(level, before) for level, before in zip(levels, finer, strict=False))
        self.classes = self._classes(levels[0][0], num_classes)
        _initialize(self.classes)

    def class_rows(self) -> Mapping[str, ClassRows]:
        """The outputs of the last convolution."""
        return {"classes": ClassRows(_initialize)}

    def forward(self, features: Sequence[Tensor], context: Context) -> PixelOutput:
        """Logits ``(B, K, H, W)``, from the indices and the map that a `PoolingIndicesEncoder` gives."""
        *indices, x = features
        # Before each pooling the map had the size of the indices of the pooling before it.
        sizes = [context.batch.padded_size, *(tuple(one.shape[-2:]) for one in indices)]
        for level, own, size in reversed(list(zip(self.levels, indices, sizes[:-1], strict=True))):
            x = level(unpool(x, own, size))
        return PixelOutput(self.classes(x))

    def _level(self, level: Sequence[int], finer: Sequence[int] | None) -> nn.Module:
        """The convolutions of a level, of which the last gives the channels of the finer one."""
        after = [*reversed(level[:-1])] + ([] if finer is None else [finer[-1]])
        layers: list[nn.Module] = []
        for source, target in zip(reversed(level), after, strict=False):
            layers += normalized_convolution(source, target, 3)
        return nn.Sequential(*layers)

    def _classes(self, channels: int, num_classes: int) -> nn.Conv2d:
        return nn.Conv2d(channels, num_classes, 3, padding=1)


class SegNetBasicHead(SegNetHead):
    """At each level a 7x7 convolution and batch norm, without bias and without ReLU; then a 1x1 convolution to the
    classes (Badrinarayanan 2015, section 3.1).

    Arguments as of `SegNetHead`.
    """

    def _level(self, level: Sequence[int], finer: Sequence[int] | None) -> nn.Module:
        after = level[0] if finer is None else finer[-1]
        conv, norm, _ = normalized_convolution(level[-1], after, 7, bias=False)
        return nn.Sequential(conv, norm)

    def _classes(self, channels: int, num_classes: int) -> nn.Conv2d:
        return nn.Conv2d(channels, num_classes, 1)


def unpool(x: Tensor, indices: Tensor, size: Sequence[int]) -> Tensor:
    """A pooled map ``(B, C, h, w)`` back at ``(B, C, *size)``: each value where its maximum was, 0 elsewhere.

    Args:
        x: the map.
        indices: ``(B, C, h, w)`` int64, positions in the flattened larger map.
        size: (height, width) before the pooling, odd ones too.
    """
    return F.max_unpool2d(x, indices, [2, 2], [2, 2], output_size=tuple(size))


def _initialize(layer: nn.Conv2d) -> None:
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
