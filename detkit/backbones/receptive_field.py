"""Which positions of the input each position of an output depends on, by the sizes of kernels alone."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from detkit.errors import InputError

_WINDOWS = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)
_POINTWISE = (nn.ReLU, nn.LeakyReLU, nn.BatchNorm2d, nn.Dropout, nn.Identity)


def receptive_field(layers: Iterable[nn.Module], position: int = 0) -> tuple[int, int]:
    """The first and the last position of the input, along the height, that a position of the output depends on.

    Positions before 0 are padding. Its length is the size of the receptive field; where a transposed convolution has a
    stride, it depends on `position`.

    Args:
        layers: a chain of convolutions, transposed convolutions and poolings, with any of the pointwise layers between
            them; a `nn.Sequential` is one. Of a network with branches, its longest chain.
        position: of the output, from 0.

    Raises:
        InputError: a layer is of another kind.
    """
    first = last = position
    for layer in reversed(list(_flat(layers))):
        if isinstance(layer, _WINDOWS):
            kernel, stride, padding = (_height(getattr(layer, name)) for name in ("kernel_size", "stride", "padding"))
            dilation = _height(getattr(layer, "dilation", 1))
            first, last = first * stride - padding, last * stride - padding + dilation * (kernel - 1)
        elif isinstance(layer, nn.ConvTranspose2d):
            kernel, stride, padding = (_height(getattr(layer, name)) for name in ("kernel_size", "stride", "padding"))
            reach = layer.dilation[0] * (kernel - 1)
            # Input i is spread over i * stride - padding up to `reach` later.
            first, last = -((reach - first - padding) // stride), (last + padding) // stride
        elif not isinstance(layer, _POINTWISE):
            raise InputError(f"a receptive field is of convolutions and poolings, got a {type(layer).__name__}")
    return first, last


def _flat(layers: Iterable[nn.Module]) -> Iterable[nn.Module]:
    for layer in layers:
        if isinstance(layer, nn.Sequential):
            yield from _flat(layer)
        else:
            yield layer


def _height(value: int | tuple[int, ...] | str) -> int:
    if isinstance(value, str):
        raise InputError(f"a receptive field needs padding as a number, got {value!r}")
    return value if isinstance(value, int) else value[0]
