"""Darknet's layers, one module for each kind that a ``.cfg`` names.

Each is built from its section, the shape ``(C, H, W)`` of its input and the shapes of all earlier layers, and has:

- `shape`: what it gives. A vector is ``(C, 1, 1)``.
- `sources`: the earlier layers whose outputs `forward` takes after its input.
- `stored`: its weights in the order of a ``.weights`` file.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.weights.darknet.cfg import Section

Shape = tuple[int, int, int]

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda x: x,
    "leaky": lambda x: F.leaky_relu(x, 0.1),
    "logistic": torch.sigmoid,
    "relu": F.relu,
    "relu6": F.relu6,
    "mish": F.mish,
    "swish": F.silu,
    "hard_mish": lambda x: torch.where(x > 0, x, torch.where(x > -2, x * x / 2 + x, 0)),
    "loggy": lambda x: 2 * torch.sigmoid(x) - 1,
    "elu": F.elu,
    "selu": lambda x: torch.where(x >= 0, 1.0507 * x, 1.0507 * 1.6732 * torch.expm1(x)),
    "relie": lambda x: F.leaky_relu(x, 0.01),
    "ramp": lambda x: F.relu(x) + 0.1 * x,
    "tanh": torch.tanh,
    "plse": lambda x: torch.where(x < -4, 0.01 * (x + 4), torch.where(x > 4, 0.01 * (x - 4) + 1, 0.125 * x + 0.5)),
    "hardtan": F.hardtanh,
    "lhtan": lambda x: torch.where(x < 0, 0.001 * x, torch.where(x > 1, 0.001 * (x - 1) + 1, x)),
}


class Layer(nn.Module):
    """A layer without weights that takes nothing but its input, unless it says so."""

    shape: Shape
    sources: tuple[int, ...] = ()

    def stored(self) -> list[Tensor]:
        """The weights in the order of the file."""
        return []


class Activation(Layer):
    """``[activation]``, and the activation at the end of other layers; `default` is for those that do not say."""

    def __init__(self, section: Section, shape: Shape, earlier: list[Shape], default: str = "linear") -> None:
        super().__init__()
        name = section.text("activation", default)
        if name not in _ACTIVATIONS:
            known = ", ".join(_ACTIVATIONS)
            raise section.error(f"activation {name!r} is not one of {known}", "activation")
        self.shape, self.name = shape, name

    def forward(self, x: Tensor) -> Tensor:
        return _ACTIVATIONS[self.name](x)


class BatchNorm(nn.BatchNorm2d):
    """Batch norm that divides by ``sqrt(variance) + 1e-6``: the epsilon stands outside of the root."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6, momentum=0.01)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return super().forward(x)
        variance = (self.running_var.sqrt() + self.eps).square()
        # torch 2.11 refuses an epsilon of 0; beside a variance of at least 1e-12 this one is rounded away.
        none = torch.finfo(torch.float32).tiny
        return F.batch_norm(x, self.running_mean, variance, self.weight, self.bias, eps=none)

    def statistics(self) -> list[Tensor]:
        """Scales, means and variances, as every file orders them."""
        return [self.weight, self.running_mean, self.running_var]


class Normalization(Layer):
    """``[batchnorm]`` alone. Its file has scales, means and variances, but no biases, which stay zero."""

    def __init__(self, section: Section, shape: Shape, earlier: list[Shape]) -> None:
        super().__init__()
        self.shape = shape
        self.batch_norm = BatchNorm(shape[0])

    def forward(self, x: Tensor) -> Tensor:
        return self.batch_norm(x)

    def stored(self) -> list[Tensor]:
        return self.batch_norm.statistics()


class Convolutional(Layer):
    """``[convolutional]``: biases, batch norm and then weights in the file."""

    def __init__(self, section: Section, shape: Shape, earlier: list[Shape]) -> None:
        super().__init__()
        section.refuse("binary", "xnor", "bin_output", "antialiasing", "deform", "sway", "rotate", "stretch")
        section.refuse("stretch_sway", "coordconv", "reverse", "share_index")
        filters, groups = section.positive("filters", 1), section.positive("groups", 1)
        size, stride = section.positive("size", 1), section.positive("stride", 1)
        strides = section.positive("stride_y", stride), section.positive("stride_x", stride)
        dilation = section.positive("dilation", 1) if size > 1 else 1
        padding = size // 2 if section.integer("pad", 0) else section.integer("padding", 0)
        if shape[0] % groups or filters % groups:
            raise section.error(f"groups={groups} divides not both {shape[0]} channels and {filters} filters", "groups")
        normalized = section.integer("batch_normalize", 0) or section.integer("cbn", 0)
        self.convolution = nn.Conv2d(
            shape[0], filters, size, strides, padding * dilation, dilation, groups, bias=not normalized
        )
        self.batch_norm = BatchNorm(filters) if normalized else None
        self.activation = Activation(section, shape, earlier, default="logistic")
        self.flipped = bool(section.integer("flipped", 0))
        reach = dilation * (size - 1) + 1 - 2 * padding * dilation
        height, width = ((side - reach) // step + 1 for side, step in zip(shape[1:], strides, strict=True))
        self.shape = filters, height, width
        _check_positive(section, self.shape)

    def forward(self, x: Tensor) -> Tensor:
        x = self.convolution(x)
        return self.activation(x if self.batch_norm is None else self.batch_norm(x))

    def stored(self) -> list[Tensor]:
        # Files of flipped layers hold the transposed matrix.
        weight = self.convolution.weight
        weight = weight.view(len(weight), -1).T if self.flipped else weight
        if self.batch_norm is None:
            return [self.convolution.bias, weight]
        return [self.batch_norm.bias, *self.batch_norm.statistics(), weight]


class Deconvolutional(Layer):
    """``[deconvolutional]``, with a file as that of ``[convolutional]``."""

    def __init__(self, section: Section, shape: Shape, earlier: list[Shape]) -> None:
        super().__init__()
        filters, size, stride = (section.positive(key, 1) for key in ("filters", "size", "stride"))
        padding = size // 2 if section.integer("pad", 0) else section.integer("padding", 0)
        normalized = section.integer("batch_normalize", 0)
        self.convolution = nn.ConvTranspose2d(shape[0], filters, size, stride, padding, bias=not normalized)
        self.batch_norm = BatchNorm(filters) if normalized else None
        self.activation = Activation(section, shape, earlier, default="logistic")
        self.shape = (filters, *((side - 1) * stride + size - 2 * padding for side in shape[1:]))
        _check_positive(section, self.shape)

    forward = Convolutional.forward

    def stored(self) -> list[Tensor]:
        if self.batch_norm is None:
            return [self.convolution.bias, self.convolution.weight]
        return [self.batch_norm.bias, *self.batch_norm.statistics(), self.convolution.weight]


class Connected(Layer):
    """``[connected]``: biases, weights and then batch norm in the file."""

    def __init__(self, section: Section, shape: Shape, earlier: list[Shape]) -> None:
        super().__init__()
        outputs, inputs = section.positive("output", 1), shape[0] * shape[1] * shape[2]
        normalized = section.integer("batch_normalize", 0)
        self.linear = nn.Linear(inputs, outputs, bias=not normalized)
        self.batch_norm = BatchNorm(outputs) if normalized else None
        self.activation = Activation(section, shape, earlier, default="logistic")
        self.shape = outputs, 1, 1

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x.flatten(1))[..., None, None]
        return self.activation(x if self.batch_norm is None else self.batch_norm(x))

    def stored(self) -> list[Tensor]:
        if self.batch_norm is None:
            return [self.linear.bias, self.linear.weight]
        return [self.batch_norm.bias, self.linear.weight, *self.batch_norm.statistics()]


class Local(Layer):
    """``[local]``: a convolution with weights of its own at every place."""

    def __init__(self, section: Section, shape: Shape, earlier: list[Shape]) -> None:
        super().__init__()
        filters, self.size, self.stride = (section.positive(key, 1) for key in ("filters", "size", "stride"))
        self.padding = section.integer("pad", 0)
        height, width = ((side - (1 if self.padding else self.size)) // self.stride + 1 for side in shape[1:])
        self.shape = filters, height, width
        _check_positive(section, self.shape)
        unfolded = [(side + 2 * self.padding - self.size) // self.stride + 1 for side in shape[1:]]
        if unfolded != [height, width]:
            raise section.error(f"pad={self.padding} with size={self.size} reads beyond its input", "pad")
        patch = shape[0] * self.size**2
        self.weight = nn.Parameter(torch.randn(height * width, filters, patch) * patch**-0.5)
        self.bias = nn.Parameter(torch.zeros(self.shape))
        self.activation = Activation(section, shape, earlier, default="logistic")

    def forward(self, x: Tensor) -> Tensor:
        patches = F.unfold(x, self.size, padding=self.padding, stride=self.stride)  # (B, C * size^2, H * W)
        x = torch.einsum("bpl,lfp->bfl", patches, self.weight)
        return self.activation(x.view(-1, *self.shape) + self.bias)

    def stored(self) -> list[Tensor]:
        return [self.bias, self.weight]


class Pool(Layer):
    """``[maxpool]`` and ``[local_avgpool]``: padded by ``size - 1`` in total, the odd pixel at the right and bottom."""

    def __init__(self, section: Section, shape: Shape, earlier: list[Shape]) -> None:
        super().__init__()
        section.refuse("antialiasing", "maxpool_depth", "maxpool_zero_nonmax")
        stride = section.positive("stride", 1)
        self.strides = section.positive("stride_y", stride), section.positive("stride_x", stride)
        self.size = section.positive("size", stride)
        self.average = section.kind.startswith("local_avg")
        self.padding = section.integer("padding", self.size - 1)
        sides = (
            (side + self.padding - self.size) // step + 1 for side, step in zip(shape[1:], self.strides, strict=True)
        )
        self.shape = (shape[0], *sides)
        _check_positive(section, self.shape)

    def forward(self, x: Tensor) -> Tensor:
        before, after = self.padding // 2, self.padding - self.padding // 2
        if not self.average:
            x = F.pad(x, (before, after, before, after), value=-torch.inf)
            return F.max_pool2d(x, self.size, self.strides)
        # The mean of the pixels that are there.
        inside = F.pad(torch.ones_like(x[:1, :1]), (before, after, before, after))
        share = F.avg_pool2d(inside, self.size, self.strides)
        return F.avg_pool2d(F.pad(x, (before, after, before, after)), self.size, self.strides) / share


class AveragePool(Layer):
    """``[avgpool]``: the mean of each channel."""

    def __init__(self, section: Section, shape: Shape, earlier: list[Shape]) -> None:
        super().__init__()
        self.shape = shape[0], 1, 1

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3), keepdim=True)


class Dropout(Layer):
    """``[dropout]``, which detection passes by."""

    def __init__(self, section: Section, shape: Shape, earlier: list[Shape]) -> None:
        super().__init__()
        self.shape, self.probability = shape, section.number("probability", 0.2)

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.probability, self.training)


class Same(Layer):
    """``[cost]``, ``[empty]`` and ``[silence]``: what comes out is what goes in."""

    def __init__(self, section: Section, shape: Shape, earlier: list[Shape]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        return x


class Crop(Layer):
    """``[crop]``: the center, from [0, 1] to [-1, 1] unless ``noadjust``. Its flips and colors are for training."""

    def __init__(self, section: Section, shape: Shape, earlier: list[Shape]) -> None:
        super().__init__()
        height, width = section.positive("crop_height", 1), section.positive("crop_width", 1)
        if height > shape[1] or width > shape[2]:
            raise section.error(f"cannot crop {width}x{height} out of {shape[2]}x{shape[1]}")
        self.shape = shape[0], height, width
        self.adjusts = not section.integer("noadjust", 0)

    def forward(self, x: Tensor) -> Tensor:
        _, height, width = self.shape
        top, left = (x.shape[2] - height) // 2, (x.shape[3] - width) // 2
        x = x[:, :, top : top + height, left : left + width]
        return 2 * x - 1 if self.adjusts else x


class Upsample(Layer):
    """``[upsample]``: every pixel `stride` times each way; with a negative stride the sum of so many pixels."""

    def __init__(self, section: Section, shape: Shape, earlier: list[Shape]) -> None:
        super().__init__()
        stride = section.integer("stride", 2)
        if stride == 0:
            raise section.error("stride must not be 0", "stride")
        self.stride, self.scale = stride, section.number("scale", 1)
        self.shape = (shape[0], *(side * stride if stride > 0 else side // -stride for side in shape[1:]))
        _check_positive(section, self.shape)

    def forward(self, x: Tensor) -> Tensor:
        if self.stride > 0:
            return self.scale * F.interpolate(x, scale_factor=float(self.stride), mode="nearest")
        return self.scale * F.avg_pool2d(x, -self.stride, divisor_override=1)


def _check_positive(section: Section, shape: Shape) -> None:
    if min(shape) < 1:
        raise section.error(
            f"its output would be {shape[2]} x {shape[1]} x {shape[0]}; is the input of [net] too small?"
        )
