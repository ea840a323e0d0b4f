"""Output stride: dilated convolutions in place of strides, so that a trained network gives maps of more cells."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torchvision.models.mobilenetv3 import InvertedResidual

from detkit.errors import InputError

OUTPUT_STRIDES = (4, 8, 16, 32)


class Sampling(NamedTuple):
    """The stride and the dilation that a convolution gets."""

    stride: tuple[int, ...]
    dilation: int


class _Seen(NamedTuple):
    """A layer in a forward pass, and the stride of what it takes and of what it gives."""

    name: str
    layer: Any
    stride_before: int
    stride_after: int


def check_output_stride(output_stride: int) -> None:
    """Raise an `InputError` unless it is one of `OUTPUT_STRIDES`."""
    if output_stride not in OUTPUT_STRIDES:
        raise InputError(f"output_stride must be one of {', '.join(map(str, OUTPUT_STRIDES))}, got {output_stride}")


def samplings(net: nn.Module, images: Tensor, output_stride: int) -> dict[str, Sampling]:
    """What the convolutions of `net` get, by name, so that no map has a larger stride than `output_stride`.

    A stride beyond it becomes 1, and the convolutions after it are dilated by what they would else lie apart, so that
    with the same weights every n-th cell keeps its value (Chen 2017, section 3.1; Yu and Koltun 2017, section 2). In a
    MobileNetV3 the convolution that loses its stride is dilated too, as in torchvision's networks for segmentation.

    Args:
        net: a network; its weights are not read.
        images: ``(1, 3, H, W)``, on which it is run, on the device of `net`; sides are multiples of all strides.
        output_stride: one of `OUTPUT_STRIDES`.

    Raises:
        InputError: a layer that is not a convolution of odd size has such a stride.
    """
    check_output_stride(output_stride)
    dilates_itself = {
        f"{name}.{inner}"
        for name, block in net.named_modules()
        if isinstance(block, InvertedResidual)
        for inner, _ in block.named_modules()
    }
    found = {}
    for name, layer, before, after in _seen(net, images):
        if after <= output_stride:
            continue
        strides = before < after
        is_convolution = isinstance(layer, nn.Conv2d)
        if strides and not (is_convolution and all(side % 2 for side in layer.kernel_size)):
            raise InputError(
                f"output_stride {output_stride} needs strides that are those of convolutions of odd size, but "
                f"{name} is a {type(layer).__name__}: choose a ResNet or a MobileNet"
            )
        if is_convolution:
            rate = (after if name in dilates_itself else before) // output_stride
            is_pointwise = layer.kernel_size == (1, 1)
            found[name] = Sampling((1, 1) if strides else layer.stride, 1 if is_pointwise else max(1, rate))
    return found


def multi_grid_samplings(net: nn.Module, units: Sequence[int], output_stride: int) -> dict[str, Sampling]:
    """What the convolutions of a ResNet's last stage get with DeepLabv3's multi-grid (Chen 2017, section 3.2.1).

    Args:
        net: torchvision's ResNet.
        units: the rate of each residual unit, ``(1, 2, 4)``, times that of the stage at this `output_stride`.
        output_stride: of the network.

    Raises:
        InputError: it is no ResNet, or has another number of units.
    """
    stage = getattr(net, "layer4", None)
    if not isinstance(stage, nn.Sequential) or len(stage) != len(units):
        count = f"{len(stage)} units in its last stage" if isinstance(stage, nn.Sequential) else "no stage of that name"
        raise InputError(f"multi_grid {tuple(units)} has a rate for each unit of a ResNet's layer4, but it has {count}")
    return {
        f"layer4.{position}.{name}": Sampling(
            (1, 1) if output_stride < 32 else layer.stride, rate * 32 // output_stride
        )
        for position, (unit, rate) in enumerate(zip(stage, units, strict=True))
        for name, layer in unit.named_modules()
        if isinstance(layer, nn.Conv2d) and layer.kernel_size != (1, 1)
    }


def resample_(net: nn.Module, found: Mapping[str, Sampling]) -> None:
    """Set stride, dilation and padding of those convolutions of `net` that `found` names; others are left out."""
    layers: dict[str, Any] = dict(net.named_modules())
    for name in found.keys() & layers.keys():
        layer, sampling = layers[name], found[name]
        layer.stride = sampling.stride
        layer.dilation = (sampling.dilation, sampling.dilation)
        layer.padding = tuple(sampling.dilation * (side // 2) for side in layer.kernel_size)


@torch.no_grad()
def _seen(net: nn.Module, images: Tensor) -> list[_Seen]:
    """The layers without parts of a forward pass that take maps to maps, in their order."""
    seen: list[_Seen] = []

    def record(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(layer: nn.Module, inputs: Any, output: Any) -> None:
            strides = [_stride(images, one) for one in (*inputs[:1], output)]
            if len(strides) == 2 and all(strides):
                seen.append(_Seen(name, layer, strides[0], strides[1]))

        return hook

    parts = [(name, part) for name, part in net.named_modules() if not list(part.children())]
    hooks = [part.register_forward_hook(record(name)) for name, part in parts]
    net(images)
    for hook in hooks:
        hook.remove()
    return seen


def _stride(images: Tensor, value: Any) -> int:
    """Pixels per cell of a map ``(B, C, H, W)``; 0 of all else, such as pooled vectors."""
    if not isinstance(value, Tensor) or value.ndim != 4:
        return 0
    strides = {round(side / cells) for side, cells in zip(images.shape[2:], value.shape[2:], strict=True) if cells}
    return strides.pop() if len(strides) == 1 else 0
