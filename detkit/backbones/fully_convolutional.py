"""`fully_convolutional`: turns a classifier into one that classifies every window of an image in a single pass."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from math import prod
from typing import NamedTuple, cast

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
    """A copy of the classifier `model` that classifies every window of larger images.

    Each fully connected layer becomes a convolution with the same weights: the first one as large as the map that it
    was flattened from, the others 1 x 1 (Sermanet 2013, section 3.5). Adaptive average pooling before them becomes
    average pooling of the size that it has at the training size. Everything else, and all names, stay.

    The dense network returns logits ``(B, K, H', W')``. At the training size they are ``1 x 1`` and equal those of the
    classifier. On a larger image, position ``(i, j)`` has the logits of the crop that begins at pixel
    ``(i * stride, j * stride)``, *except for the effect of padding*. A network with padding gets zeros around a crop,
    where the dense network gets the rest of the image: the outermost cells of the maps differ, and so do logits that
    depend on them. Without padding (and ``ceil_mode``) before the first fully connected layer, logits are equal at
    every position up to rounding; with padding they still equal, cell by cell, the fully connected layers on the
    windows of the map of the whole image. Squeeze-and-excitation averages over its whole input, crop or image.

    Args:
        model: a classifier as `classifier` makes them, a `ChainBackbone` with classes, or any network that torch.fx
            can trace and that has `Linear` layers or ends with global pooling.
        size: height and width of the training images, or their common side; None: the ``training_size`` of the model,
            else 224.
        offset_pooling: also evaluate the last max pooling at every offset (OverFeat, section 3.3): it gets stride 1,
            and the first fully connected layer takes every n-th cell. The stride of the positions becomes n times
            finer, 12 instead of 36 for `OverFeatAccurate`.

    Returns:
        The dense network with its ``stride`` and ``training_size`` (height, width) in pixels, in the mode of the model.

    Raises:
        InputError: the model has no fully connected layer or cannot be traced, `size` is not the training size, or a
            layer between the fully connected ones mixes positions.
    """
    net = model.as_classifier() if isinstance(model, ChainBackbone) else model
    size = size if size is not None else getattr(model, "training_size", 224)
    height, width = (size, size) if isinstance(size, int) else size
    dense = _traced(copy.deepcopy(net).eval())
    try:
        _propagated(dense, (height, width))
    except Exception as error:  # shapes that do not fit raise errors of many types
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
    vars(dense).update(training_size=(height, width), stride=_measured_stride(dense, (height, width)))
    return dense


@torch.no_grad()
def dense_logits(dense: nn.Module, images: Tensor, scales: Sequence[float] = (1.0,), flip: bool = False) -> Tensor:
    """Class logits of whole images from all windows at several scales (OverFeat, section 3.3).

    The maximum logit over positions per class, averaged over scales and flips.

    Args:
        dense: a result of `fully_convolutional`.
        images: ``(B, 3, H, W)``, normalized as the network expects.
        scales: factors of the size of the images; scales at which no window fits are skipped.
        flip: also use the horizontally flipped images.

    Returns:
        ``(B, K)``.

    Raises:
        InputError: no window fits at any scale.
    """
    window = cast(tuple[int, int], dense.training_size)  # which `fully_convolutional` has set
    sizes = {scale: [int(side * scale) for side in images.shape[-2:]] for scale in scales}
    fitting = [size for size in sizes.values() if size[0] >= window[0] and size[1] >= window[1]]
    if not fitting:
        raise InputError(f"images of {tuple(images.shape[-2:])} have no room for a window of {window}")
    maxima = []
    for size in fitting:
        resized = F.interpolate(images, size=size, mode="bilinear", align_corners=False)
        for view in (resized, resized.flip(-1)) if flip else (resized,):
            maxima.append(dense(view).amax(dim=(2, 3)))
    return torch.stack(maxima).mean(dim=0)


class _First(NamedTuple):
    """The first convolution that was a fully connected layer, and its input."""

    convolution: nn.Conv2d
    source: fx.Node


class _Rewriting:
    """Rewrites the graph of a classifier so that flat vectors become maps.

    Args:
        net: a traced classifier, with the shapes of one pass at the training size in its nodes.
    """

    def __init__(self, net: fx.GraphModule) -> None:
        self.net = net
        # The map (C, H, W) at the training size of each node that was a flat vector or is computed from one.
        self.flat: dict[fx.Node, tuple[int, int, int]] = {}
        self.first: _First | None = None

    def run(self) -> _First | None:
        for node in list(self.net.graph.nodes):
            module = _module(node)
            source = next(iter(node.all_input_nodes), None)
            if source is None:
                continue
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
        channels, height, width = cells
        if flat_shape[1] != prod(cells):  # a mean over the cells
            source = self._pool(source, (height, width))
            height = width = 1
        else:
            pooling = _before_elementwise(source)
            if isinstance(_module(pooling), nn.AdaptiveAvgPool2d) or pooling.target is F.adaptive_avg_pool2d:
                averaged = self._average(pooling)
                pooling.replace_all_uses_with(averaged)
                source = averaged if source is pooling else source
        node.replace_all_uses_with(source)
        self.flat[source] = (channels, height, width)

    def _average(self, node: fx.Node) -> fx.Node:
        """The equivalent, at the training size, of adaptive pooling before the flattening."""
        source = node.all_input_nodes[0]
        before, after = _shape(source)[2:], _shape(node)[2:]
        if before == after:
            return source
        if before[0] % after[0] or before[1] % after[1]:
            raise InputError(
                f"the network averages {before} cells to {after}, which no pooling of one size does: "
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
        self.net.set_submodule(str(node.target), convolution)
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
            self.net.set_submodule(str(node.target), normalization)
            self.flat[node] = self.flat[source]
        elif _is_elementwise(node):
            self.flat[node] = self.flat[source]
        elif node.op != "output":
            raise InputError(f"the fully connected layers cannot be made dense: {node.target} may mix positions")


def _module(node: fx.Node) -> nn.Module | None:
    net = node.graph.owning_module
    return net.get_submodule(str(node.target)) if net is not None and node.op == "call_module" else None


def _is_elementwise(node: fx.Node) -> bool:
    return isinstance(_module(node), _ELEMENTWISE_MODULES) or node.target in _ELEMENTWISE


def _before_elementwise(node: fx.Node) -> fx.Node:
    while _is_elementwise(node):
        node = node.all_input_nodes[0]
    return node


def _shape(node: fx.Node) -> tuple[int, ...]:
    shape = getattr(node.meta.get("tensor_meta"), "shape", None)
    return () if shape is None else tuple(shape)


def _traced(net: nn.Module) -> fx.GraphModule:
    try:
        return fx.symbolic_trace(net)
    except Exception as error:  # whatever a forward does with a tensor that has no values
        raise InputError(f"{type(net).__name__} cannot be traced by torch.fx: {error}") from error


def _propagated(net: fx.GraphModule, size: tuple[int, int]) -> Tensor:
    """The output of `net` for an image of `size`, without values; the shapes are stored in the nodes."""
    output: Tensor = ShapeProp(net, fake_mode=FakeTensorMode()).propagate(torch.empty(1, 3, 1, 1).expand(1, 3, *size))
    return output


def _pool_at_every_offset(net: fx.GraphModule, first: _First | None) -> None:
    """Set the stride of the last max pooling before the `first` convolution to 1, and dilate that convolution."""
    pooling = _module(_before_elementwise(first.source)) if first is not None else None
    if first is None or not isinstance(pooling, nn.MaxPool2d):
        raise InputError("offset_pooling needs max-pooling right before the first fully connected layer")
    first.convolution.dilation = _pair(pooling.stride)
    pooling.stride = 1


def _pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


_MANY_STRIDES = 20160  # a multiple of 32, 36 and of most other strides


def _measured_stride(net: fx.GraphModule, size: tuple[int, int]) -> int:
    """The distance of adjacent positions of the output, in pixels of the image."""
    positions = _propagated(net, (size[0] + _MANY_STRIDES, size[1])).shape[2]
    return round(_MANY_STRIDES / (positions - 1))
