"""A classifier slid over the image for the price of one pass: fully connected layers as convolutions."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional as F

from detkit.backbones.chain import ChainBackbone
from detkit.errors import InputError

_FLATTENING = {torch.flatten, "flatten", "view", "reshape", torch.reshape, torch.mean, "mean", "squeeze", torch.squeeze}
_ELEMENTWISE_MODULES = (nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish, nn.GELU, nn.Sigmoid, nn.Dropout, nn.Identity)
_ELEMENTWISE = {F.relu, F.dropout, torch.relu, torch.relu_, torch.sigmoid, "relu", "sigmoid", "contiguous"}


def fully_convolutional(
    model: nn.Module, size: int | tuple[int, int] | None = None, offset_pooling: bool = False
) -> fx.GraphModule:
    """`model`, which classifies images of one size, as a net that classifies every window of larger images.

    Each fully connected layer becomes a convolution with the same weights: the first one as large as the map that it
    was flattened from, the others 1 x 1 (Sermanet 2013, section 3.5). Adaptive average pooling before
    them becomes what it is at the size of training: nothing, or average pooling of one size. Everything else stays, so
    do all names; the weights are copied.

    The dense net gives logits ``(B, K, H', W')``: ``1 x 1`` at the size of training, where they equal the classifier's,
    and at position ``(i, j)`` of a larger image what the classifier says of the crop that begins at pixel
    ``(i * stride, j * stride)``, *where padding does not reach*. A net that pads its maps, as all but the smallest do,
    sees zeros around a crop where the dense net sees the rest of the image: the outermost cells of the maps differ,
    and the logits as far as they depend on these. With no padding (nor ``ceil_mode``) before the first fully connected
    layer they are equal at every position, up to rounding; with it they are still equal, cell by cell, to the fully
    connected layers on the windows of the map of the whole image. Squeeze-and-excitation looks
    at all it is given, crop or image.

    Args:
        model: a classifier as `classifier` makes them, or a `ChainBackbone` with classes; any net of modules that
            torch.fx can trace will do, which has `Linear` layers or ends with global pooling.
        size: height and width of the images of training, or their common side; nothing means what the model has as
            ``training_size``, else 224.
        offset_pooling: also evaluate the last max-pooling at every offset (OverFeat, section 3.3): it steps by one
            cell, and the first fully connected layer takes every n-th of its cells. The stride of the positions
            becomes n times finer, 12 in place of 36 for `OverFeatAccurate`.

    Returns:
        The dense net, with its ``stride`` and ``training_size`` (height, width) in pixels, in the model's mode.

    Raises:
        InputError: there is nothing to make dense, the size is not the one of training, or a layer between the fully
            connected ones mixes positions.
    """
    net = model.as_classifier() if isinstance(model, ChainBackbone) else model
    size = size if size is not None else getattr(model, "training_size", 224)
    height, width = (size, size) if isinstance(size, int) else size
    dense = _traced(copy.deepcopy(net).eval())
    try:
        _propagated(dense, (height, width))
    except Exception as error:  # shapes that do not fit say so in many ways
        name = type(model).__name__
        raise InputError(
            f"{name} does not take images of {height} x {width}, give the size that it was trained on: {error}"
        ) from error
    first = _Rewriting(dense).run()
    if offset_pooling:
        _pool_at_every_offset(dense, first)
    dense.graph.eliminate_dead_code()
    dense.delete_all_unused_submodules()
    dense.recompile()
    for module in dense.modules():
        module.training = net.training
    dense.training_size = (height, width)
    dense.stride = _measured_stride(dense, (height, width))
    return dense


@torch.no_grad()
def dense_logits(dense: nn.Module, images: Tensor, scales: Sequence[float] = (1.0,), flip: bool = False) -> Tensor:
    """Class logits of whole images from every window at several scales (OverFeat, section 3.3).

    The greatest logit over the positions, per class and scale and flip, averaged over scales and flips.

    Args:
        dense: what `fully_convolutional` made.
        images: ``(B, 3, H, W)``, as the net wants them.
        scales: factors of the images' size; a scale at which no window fits is left out.
        flip: look at the mirror images too.

    Returns:
        ``(B, K)``.

    Raises:
        InputError: no scale leaves room for a window.
    """
    sizes = {scale: [int(side * scale) for side in images.shape[-2:]] for scale in scales}
    fitting = [
        size for size in sizes.values() if size[0] >= dense.training_size[0] and size[1] >= dense.training_size[1]
    ]
    if not fitting:
        raise InputError(f"images of {tuple(images.shape[-2:])} have no room for a window of {dense.training_size}")
    maxima = []
    for size in fitting:
        resized = F.interpolate(images, size=size, mode="bilinear", align_corners=False)
        for seen in (resized, resized.flip(-1)) if flip else (resized,):
            maxima.append(dense(seen).amax(dim=(2, 3)))
    return torch.stack(maxima).mean(dim=0)


class _First(NamedTuple):
    """The first convolution that was a fully connected layer, and the map that it stands on."""

    convolution: nn.Conv2d
    source: fx.Node


class _Rewriting:
    """One walk through the graph, in which flat vectors become maps.

    Args:
        net: a traced classifier, with the shapes of one pass at the size of training in its nodes.
    """

    def __init__(self, net: fx.GraphModule) -> None:
        self.net = net
        # The map (C, H, W) at the size of training of every node that was a flat vector or is made from one.
        self.flat: dict[fx.Node, tuple[int, int, int]] = {}
        self.first: _First | None = None

    def run(self) -> _First | None:
        for node in list(self.net.graph.nodes):
            module = _module(node)
            source = next(iter(node.all_input_nodes), None)
            if isinstance(module, nn.Linear) and source in self.flat:
                self._convolve(node, source, module)
            elif source in self.flat:
                self._pass_on(node, source, module)
            elif isinstance(module, nn.Flatten) or node.target in _FLATTENING:
                self._flatten(node, source)
        output = next(node for node in self.net.graph.nodes if node.op == "output")
        if not any(node in self.flat for node in output.all_input_nodes):
            raise InputError("there is no fully connected layer to make dense: give a classifier with its last layers")
        return self.first

    def _flatten(self, node: fx.Node, source: fx.Node) -> None:
        cells, flat_shape = _shape(source)[1:], _shape(node)
        if len(cells) != 3 or len(flat_shape) != 2:
            return
        if flat_shape[1] != prod(cells):  # a mean over the cells
            source = self._pool(source, cells[1:])
            cells = (cells[0], 1, 1)
        else:
            pooling = _before_elementwise(source)
            if isinstance(_module(pooling), nn.AdaptiveAvgPool2d) or pooling.target is F.adaptive_avg_pool2d:
                averaged = self._average(pooling)
                pooling.replace_all_uses_with(averaged)
                source = averaged if source is pooling else source
        node.replace_all_uses_with(source)
        self.flat[source] = cells

    def _average(self, node: fx.Node) -> fx.Node:
        """What adaptive pooling before the flattening is at the size of training."""
        source = node.all_input_nodes[0]
        before, after = _shape(source)[2:], _shape(node)[2:]
        if before == after:
            return source
        if before[0] % after[0] or before[1] % after[1]:
            raise InputError(
                f"the net averages {before} cells to {after}, which no pooling of one size does: "
                "give the size of the images that it was trained on"
            )
        window = (before[0] // after[0], before[1] // after[1])
        return self._pool(source, window, stride=1 if after == (1, 1) else window)

    def _pool(self, source: fx.Node, window: tuple[int, ...], stride: int | tuple[int, ...] = 1) -> fx.Node:
        with self.net.graph.inserting_after(source):
            return self.net.graph.call_function(F.avg_pool2d, (source, window, stride))

    def _convolve(self, node: fx.Node, source: fx.Node, linear: nn.Linear) -> None:
        channels, height, width = self.flat[source]
        if linear.in_features != channels * height * width:
            raise InputError(f"{node.target} takes {linear.in_features} numbers, its input is {self.flat[source]}")
        convolution = nn.Conv2d(
            channels, linear.out_features, (height, width), bias=linear.bias is not None, device="meta"
        )
        convolution.weight = nn.Parameter(
            linear.weight.detach().view(-1, channels, height, width), requires_grad=linear.weight.requires_grad
        )
        convolution.bias = linear.bias
        self.net.set_submodule(node.target, convolution)
        self.first = self.first or _First(convolution, source)
        self.flat[node] = (linear.out_features, 1, 1)

    def _pass_on(self, node: fx.Node, source: fx.Node, module: nn.Module | None) -> None:
        if isinstance(module, nn.Flatten) or node.target in _FLATTENING:
            node.replace_all_uses_with(source)  # a flat vector, flattened again
        elif isinstance(module, nn.BatchNorm1d):
            normalization = nn.BatchNorm2d(
                module.num_features, module.eps, module.momentum, module.affine, module.track_running_stats
            )
            normalization.load_state_dict(module.state_dict())
            self.net.set_submodule(node.target, normalization)
            self.flat[node] = self.flat[source]
        elif _is_elementwise(node):
            self.flat[node] = self.flat[source]
        elif node.op != "output":
            raise InputError(f"the fully connected layers cannot be made dense: {node.target} may mix positions")


def _module(node: fx.Node) -> nn.Module | None:
    return node.graph.owning_module.get_submodule(node.target) if node.op == "call_module" else None


def _is_elementwise(node: fx.Node) -> bool:
    return isinstance(_module(node), _ELEMENTWISE_MODULES) or node.target in _ELEMENTWISE


def _before_elementwise(node: fx.Node) -> fx.Node:
    while _is_elementwise(node):
        node = node.all_input_nodes[0]
    return node


def _shape(node: fx.Node) -> tuple[int, ...]:
    meta = node.meta.get("tensor_meta")
    return tuple(meta.shape) if hasattr(meta, "shape") else ()


def _traced(net: nn.Module) -> fx.GraphModule:
    try:
        return fx.symbolic_trace(net)
    except Exception as error:  # whatever a forward does with a tensor that has no values
        raise InputError(f"{type(net).__name__} cannot be followed by torch.fx: {error}") from error


def _propagated(net: fx.GraphModule, size: tuple[int, int]) -> Tensor:
    """What comes out of `net` for an image of `size`, without values; the shapes are kept in the nodes."""
    return ShapeProp(net, fake_mode=FakeTensorMode()).propagate(torch.empty(1, 3, 1, 1).expand(1, 3, *size))


def _pool_at_every_offset(net: fx.GraphModule, first: _First | None) -> None:
    """Let the last max-pooling before the `first` convolution step by one cell, and spread that one's cells."""
    pooling = _module(_before_elementwise(first.source)) if first is not None else None
    if not isinstance(pooling, nn.MaxPool2d):
        raise InputError("offset_pooling needs max-pooling right before the first fully connected layer")
    first.convolution.dilation = _pair(pooling.stride)
    pooling.stride = 1


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


_MANY_STRIDES = 20160  # a multiple of 32, 36 and of most other strides


def _measured_stride(net: fx.GraphModule, size: tuple[int, int]) -> int:
    """Pixels of the image from one position of the output to the next."""
    positions = _propagated(net, (size[0] + _MANY_STRIDES, size[1])).shape[2]
    return round(_MANY_STRIDES / (positions - 1))
