"""Project activations back to pixels: the deconvolution network of Zeiler & Fergus 2013, section 2.1."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from detkit.errors import InputError
from detkit.visualization.attribution.named_layers import eval_mode, record_layers

# Nonlinearities that let what is positive through, about as it is.
_RECTIFIERS = {
    *(F.relu, F.relu6, F.leaky_relu, F.prelu, F.rrelu, F.elu, F.celu, F.selu, F.gelu, F.silu, F.mish, F.softplus),
    *(F.hardswish, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_, F.leaky_relu_, F.elu_, F.celu_, F.selu_),
}
# Nonlinearities whose outputs other features are multiplied by, as in squeeze-and-excitation and attention.
_GATES = {
    *(torch.sigmoid, torch.sigmoid_, Tensor.sigmoid, Tensor.sigmoid_, F.sigmoid, F.hardsigmoid),
    *(torch.softmax, Tensor.softmax, F.softmax, F.scaled_dot_product_attention),
}


class Unit(NamedTuple):
    """One cell of one channel of a layer's map, where the channel's activation is strongest in an image.

    Args:
        image: the index of the image.
        channel: the index of the filter in its layer.
        cell: (row, column) in the map.
        activation: the value there.
    """

    image: int
    channel: int
    cell: tuple[int, int]
    activation: float


class Projection(NamedTuple):
    """A unit, and its activation projected back to the pixels ``(3, H, W)`` of the network's input."""

    unit: Unit
    pixels: Tensor


class DeconvolutionMode(TorchFunctionMode):
    """Gives networks that run within it the backward pass of the deconvolution network.

    Section 2.1 sends a layer's activations back through *unpooling* by the recorded switches, *rectification*, and
    *filtering* by the transposed filters. Of these, filtering is what a convolution's backward pass is, and unpooling
    what max-pooling's is: a value goes to the location of the maximum; where windows overlap and share their maximum,
    their values add up. So only the nonlinearities differ. ReLU's backward pass, which lets the signal through where
    the *activation* was positive, becomes one that rectifies the *signal*. The same is done at its relatives (leaky
    ReLU, SiLU, hard-swish, GELU …), whose outputs are all but positive too. Gates and attention weights (sigmoid,
    hard-sigmoid and softmax) are kept as recorded, like the switches. Everything else is linear in evaluation, batch
    norm too, and its adjoint is its backward pass, so that residual sums and concatenations need no special case.
    """

    def __torch_function__(
        self, func: Callable, types: Sequence[type], args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call `func`, with another backward pass where it is a nonlinearity."""
        kwargs = kwargs or {}
        if func in _RECTIFIERS or (func is F.hardtanh and _lower_bound(*args, **kwargs) == 0):
            return _rectified(func, *args, **kwargs)
        output = func(*args, **kwargs)
        return output.detach() if func in _GATES else output


class _RectifiedSignal(torch.autograd.Function):
    """A value forward; backward the signal goes to `source`, rectified."""

    @staticmethod
    def forward(ctx: Any, source: Tensor, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, signal: Tensor) -> tuple[Tensor, None]:
        return signal.clamp(min=0), None


def _rectified(func: Callable, source: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    with torch.no_grad():
        copy = source.clone()
        value = func(copy, *args, **kwargs)
    output = _RectifiedSignal.apply(source, value)
    in_place = value.data_ptr() == copy.data_ptr() and value.numel() > 0
    return source.copy_(output) if in_place else output


def _lower_bound(source: Tensor, min_val: float = -1.0, *args: Any, **kwargs: Any) -> float:
    return min_val


def strongest_units(
    network: nn.Module,
    images: Sequence[Tensor],
    layers: Sequence[str],
    filters: Sequence[int] | None = None,
    count: int = 8,
    top: int = 9,
    forward: Callable[[Tensor], object] | None = None,
) -> dict[str, list[list[Unit]]]:
    """The strongest activations of filters: in which images, and where (figure 2 of the paper).

    Args:
        network: any network.
        images: ``(1, 3, H, W)`` each, of any sizes, as the network takes them.
        layers: the names of the layers.
        filters: channels of each layer; None: those with the strongest activations.
        count: the most filters per layer.
        top: the most images per filter.
        forward: runs the network on one of `images`; the network itself if not given.

    Returns:
        For each layer its filters, strongest first or in the order of `filters`, each with a unit for each of its
        images, strongest first.

    Raises:
        InputError: a layer that is not there or gives no map, or a filter that it does not have.
    """
    peaks: dict[str, list[tuple[Tensor, Tensor, int]]] = {name: [] for name in layers}
    with torch.no_grad(), eval_mode(network):
        for image in images:
            for name, maps in zip(layers, _run(network, image, layers, forward).values(), strict=True):
                activations, indices = maps[0].flatten(1).max(dim=1)
                peaks[name].append((activations.cpu(), indices.cpu(), maps.shape[3]))
    return {name: _strongest(name, layer_peaks, filters, count, top) for name, layer_peaks in peaks.items()}


def _strongest(
    layer: str, peaks: list[tuple[Tensor, Tensor, int]], filters: Sequence[int] | None, count: int, top: int
) -> list[list[Unit]]:
    activations = torch.stack([values for values, _, _ in peaks])
    channels = activations.shape[1]
    wrong = [channel for channel in filters or () if not 0 <= channel < channels]
    if wrong:
        raise InputError(f"layer {layer!r} has no filter {wrong[0]}: it has {channels}, counted from 0")
    if filters is None:
        filters = activations.amax(dim=0).argsort(descending=True, stable=True)[:count].tolist()
    units = []
    for channel in filters:
        best = activations[:, channel].argsort(descending=True, stable=True)[:top].tolist()
        filter_units = []
        for image in best:
            values, indices, width = peaks[image]
            row, column = divmod(int(indices[channel]), width)
            filter_units.append(Unit(image, channel, (row, column), float(values[channel])))
        units.append(filter_units)
    return units


def project(
    network: nn.Module,
    image: Tensor,
    units: Mapping[str, Sequence[Unit]],
    forward: Callable[[Tensor], object] | None = None,
) -> dict[str, list[Projection]]:
    """Project the activations of `units` of one image back to its pixels, one at a time.

    Args:
        network: any network.
        image: ``(1, 3, H, W)``, as the network takes it.
        units: to project, by layer; `Unit.image` is ignored.
        forward: runs the network on `image`; the network itself if not given.

    Raises:
        InputError: a layer that is not there, gives no map, or does not depend on the image.
    """
    image = image.detach().clone().requires_grad_()
    with torch.enable_grad(), eval_mode(network), DeconvolutionMode():
        maps = _run(network, image, list(units), forward)
    return {
        name: [Projection(unit, _projected(name, maps[name], unit, image)) for unit in layer_units]
        for name, layer_units in units.items()
    }


def _projected(layer: str, maps: Tensor, unit: Unit, image: Tensor) -> Tensor:
    signal = torch.zeros_like(maps)
    index = (0, unit.channel, *unit.cell)
    signal[index] = maps.detach()[index]
    (pixels,) = torch.autograd.grad(maps, image, signal, retain_graph=True, allow_unused=True)
    if pixels is None:
        raise InputError(f"layer {layer!r} does not depend on the image's pixels: name a layer of the backbone")
    return pixels[0]


def _run(
    network: nn.Module, image: Tensor, layers: Sequence[str], forward: Callable[[Tensor], object] | None
) -> dict[str, Tensor]:
    """The maps ``(1, C, H, W)`` of `layers`."""
    with record_layers(network, layers, image.shape[-2:]) as maps:
        (forward or network)(image)
    return {name: maps.as_map(output) for name, output in zip(layers, maps.outputs(), strict=True)}


def extent(projection: Tensor, share: float = 0.95) -> tuple[int, int, int, int]:
    """The square ``x1 y1 x2 y2`` within the image around most of a projection.

    Args:
        projection: ``(3, H, W)``.
        share: of the sum of squares that the square holds in each direction.
    """
    energy = projection.double().square().sum(dim=0)
    height, width = energy.shape
    (top, bottom), (left, right) = (_interval(energy.sum(dim=axis), share) for axis in (1, 0))
    side = max(bottom - top, right - left)
    (top, bottom), (left, right) = _widened(top, bottom, side, height), _widened(left, right, side, width)
    return left, top, right, bottom


def _interval(weights: Tensor, share: float) -> tuple[int, int]:
    """The middle part of `weights` ``(N,)`` that holds `share` of their sum, as a half-open interval."""
    total = weights.sum()
    if total <= 0:
        return 0, len(weights)
    below = weights.cumsum(dim=0) / total
    rest = (1 - share) / 2
    return int((below <= rest).sum()), min(len(weights), int((below < 1 - rest).sum()) + 1)


def _widened(start: int, end: int, side: int, length: int) -> tuple[int, int]:
    """An interval of length `side`, at most `length`, around the middle of another one, moved into ``0..length``."""
    side = min(side, length)
    start = min(max(0, (start + end - side) // 2), length - side)
    return start, start + side
