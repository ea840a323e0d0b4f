"""Darknet's layers that reorder channels or join the outputs of earlier layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.weights.darknet.cfg import Section
from detkit.weights.darknet.layers import Activation, Layer, Shape, check_shape
from detkit.weights.darknet.tree import ClassTree


class Route(Layer):
    """``[route]``: concatenates the channels of earlier layers, or one of `groups` parts of each."""

    def __init__(self, section: Section, shape: Shape, earlier: list[Shape]) -> None:
        super().__init__()
        self.sources = tuple(section.layers("layers"))
        self.groups, self.group = section.positive("groups", 1), section.integer("group_id", 0)
        shapes = [earlier[source] for source in self.sources]
        if len({size[1:] for size in shapes}) > 1:
            raise section.error(f"its layers differ in size: {shapes} (channels, height, width)", "layers")
        if not 0 <= self.group < self.groups or any(channels % self.groups for channels, *_ in shapes):
            channels = [channels for channels, *_ in shapes]
            raise section.error(f"no group {self.group} of {self.groups} in {channels} channels", "groups")
        self.shape = sum(channels for channels, *_ in shapes) // self.groups, *shapes[0][1:]

    def forward(self, x: Tensor, *sources: Tensor) -> Tensor:
        parts = [source.chunk(self.groups, dim=1)[self.group] for source in sources]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


class Shortcut(Layer):
    """``[shortcut]``: the input plus the outputs of earlier layers.

    Where channels differ, only those that both have are added. A larger map is subsampled; a smaller one is added at
    every n-th pixel. ``weights_type`` gives each summand a learned weight, shared by its channels or per channel.
    """

    def __init__(self, section: Section, shape: Shape, earlier: list[Shape]) -> None:
        super().__init__()
        self.shape, self.sources = shape, tuple(section.layers("from"))
        self.alpha, self.beta = section.number("alpha", 1), section.number("beta", 1)
        for source in self.sources:
            sizes = [(earlier[source][side], shape[side]) for side in (1, 2)]
            if len({max(pair) // min(pair) for pair in sizes}) > 1 or any(max(pair) % min(pair) for pair in sizes):
                raise section.error(f"{earlier[source]} and {shape} (channels, height, width) do not fit", "from")
        self.activation = Activation(section, shape, earlier)
        self.weights = self._weights(section)
        normalizations = ("none", "relu", "avg_relu", "softmax")
        self.normalization = section.choice("weights_normalization", "none", normalizations)

    def _weights(self, section: Section) -> nn.Parameter | None:
        columns = {"none": 0, "per_feature": 1, "per_layer": 1, "per_channel": self.shape[0]}
        kind = section.choice("weights_type", "none", columns)
        return nn.Parameter(torch.ones(len(self.sources) + 1, columns[kind])) if columns[kind] else None

    def forward(self, x: Tensor, *sources: Tensor) -> Tensor:
        summands = [self.alpha * x, *(self.beta * _fitted(source, x) for source in sources)]
        if self.weights is not None:
            weights = self._normalized(self.weights)[:, None, :, None, None]
            summands = [summand * weight for summand, weight in zip(summands, weights, strict=True)]
        total = summands[0]
        for summand in summands[1:]:
            total = total + summand
        return self.activation(total)

    def _normalized(self, weights: Tensor) -> Tensor:
        if self.normalization == "none":
            return weights
        is_softmax = self.normalization == "softmax"
        weights = (weights - weights.amax(dim=0)).exp() if is_softmax else weights.clamp(min=0.001)
        return weights / (weights.sum(dim=0) + 0.0001)

    def stored(self) -> list[Tensor]:
        return [] if self.weights is None else [self.weights]


def _fitted(source: Tensor, x: Tensor) -> Tensor:
    """`source` in the shape of `x`, filled up with zeros."""
    if source.shape == x.shape:
        return source
    (channels, height, width), narrow = x.shape[1:], min(source.shape[1], x.shape[1])
    step = max(1, source.shape[3] // width)
    source = source[:, :narrow, ::step, ::step]
    spread = max(1, width // source.shape[3])
    fitted = x.new_zeros(len(x), channels, height, width)
    fitted[:, :narrow, ::spread, ::spread] = source
    return fitted


class Reorg(Layer):
    """``[reorg]`` as in YOLOv2's weights, and ``[reorg3d]``.

    ``[reorg3d]`` makes channels of blocks: ``s x s`` pixels of each channel, block position first. ``[reorg]`` does so
    after reading the memory of its ``(C, H, W)`` input as a ``(C / s^2, H * s, W * s)`` map, which gives ``(C, H, W)``
    numbers again, and those are read as ``(C * s^2, H / s, W / s)``. With ``reverse`` it makes blocks of channels.
    """

    def __init__(self, section: Section, shape: Shape, earlier: list[Shape]) -> None:
        super().__init__()
        section.refuse("flatten", "extra")
        channels, height, width = shape
        self.stride = stride = section.positive("stride", 1)
        self.plain = section.kind == "reorg3d"
        self.reverse = bool(section.integer("reverse", 0))
        if self.plain:
            section.refuse("reverse")
        elif channels % stride**2:
            raise section.error(f"{channels} channels are no multiple of {stride**2}", "stride")
        if not self.reverse and (height % stride or width % stride):
            raise section.error(f"stride {stride} does not divide the map of {width} x {height}", "stride")
        if self.reverse:
            self.shape = channels // stride**2, height * stride, width * stride
        else:
            self.shape = channels * stride**2, height // stride, width // stride

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        step, area = self.stride, self.stride**2
        if self.reverse:
            blocks = x.reshape(batch, step, step, channels // area, height, width)
            return blocks.permute(0, 3, 4, 1, 5, 2).reshape(batch, channels // area, height * step, width * step)
        wide = x if self.plain else x.reshape(batch, channels // area, height * step, width * step)
        blocks = torch.unflatten(torch.unflatten(wide, 3, (-1, step)), 2, (-1, step))  # (B, C, H, s, W, s)
        return blocks.permute(0, 3, 5, 1, 2, 4).reshape(batch, channels * area, height // step, width // step)


class ScaleChannels(Layer):
    """``[scale_channels]``: an earlier map times a factor per channel, the input, or with ``scale_wh`` per location."""

    def __init__(self, section: Section, shape: Shape, earlier: list[Shape]) -> None:
        super().__init__()
        (source,) = self.sources = tuple(section.layers("from"))[:1]
        self.shape = earlier[source]
        expected = (1, *self.shape[1:]) if section.integer("scale_wh", 0) else (self.shape[0], 1, 1)
        if shape != expected:
            raise section.error(f"its input must be {expected} (channels, height, width), it is {shape}", "from")
        self.activation = Activation(section, shape, earlier)

    def forward(self, x: Tensor, source: Tensor) -> Tensor:
        return self.activation(x * source)


class Attention(Layer):
    """``[sam]``: an earlier map times the input, elementwise."""

    def __init__(self, section: Section, shape: Shape, earlier: list[Shape]) -> None:
        super().__init__()
        (source,) = self.sources = tuple(section.layers("from"))[:1]
        if earlier[source] != shape:
            raise section.error(f"{earlier[source]} and {shape} (channels, height, width) differ", "from")
        self.shape = shape
        self.activation = Activation(section, shape, earlier)

    def forward(self, x: Tensor, source: Tensor) -> Tensor:
        return self.activation(x * source)


class Implicit(Layer):
    """``[implicit]``: a learned vector, the same for every image (YOLOR)."""

    def __init__(self, section: Section, shape: Shape, earlier: list[Shape]) -> None:
        super().__init__()
        self.shape = section.positive("filters", 128), section.positive("atoms", 1), 1
        check_shape(section, self.shape)
        self.weight = nn.Parameter(section.number("mean", 0.0) + section.number("std", 0.2) * torch.randn(self.shape))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight.expand(len(x), *self.shape)

    def stored(self) -> list[Tensor]:
        return [self.weight]


class ImplicitJoint(Layer):
    """``[shift_channels]`` adds, ``[control_channels]`` multiplies the input by an earlier ``[implicit]`` (YOLOR)."""

    def __init__(self, section: Section, shape: Shape, earlier: list[Shape]) -> None:
        super().__init__()
        (source,) = self.sources = tuple(section.layers("from"))[:1]
        if earlier[source] != (shape[0], 1, 1):
            raise section.error(f"{earlier[source]} is no number for each of {shape[0]} channels", "from")
        self.shape, self.adds = shape, section.kind == "shift_channels"

    def forward(self, x: Tensor, source: Tensor) -> Tensor:
        return x + source if self.adds else x * source


class Softmax(Layer):
    """``[softmax]`` over everything, over each of `groups` parts, or with ``spatial`` over channels.

    With a tree of classes (YOLO9000), over the children of each class.
    """

    def __init__(self, section: Section, shape: Shape, earlier: list[Shape]) -> None:
        super().__init__()
        self.tree = ClassTree(section, shape[0] * shape[1] * shape[2]) if section.text("tree") else None
        self.shape, self.groups = shape, section.positive("groups", 1)
        self.temperature, self.spatial = section.number("temperature", 1), bool(section.number("spatial", 0))
        if self.temperature == 0:
            raise section.error("temperature must not be 0", "temperature")
        if (shape[0] * shape[1] * shape[2]) % self.groups:
            raise section.error(f"groups={self.groups} do not divide its input {shape}", "groups")

    def forward(self, x: Tensor) -> Tensor:
        if self.tree is not None:
            return self.tree.softmax(x.flatten(1)).view(x.shape)
        if self.spatial:
            return F.softmax(x / self.temperature, dim=1)
        return F.softmax(x.reshape(len(x), self.groups, -1) / self.temperature, dim=-1).reshape(x.shape)
