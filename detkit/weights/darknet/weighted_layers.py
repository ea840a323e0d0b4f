"""Darknet's layers with weights: ``[convolutional]``, ``[connected]``, ``[local]``, ``[batchnorm]``."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.weights.darknet.cfg import Section
from detkit.weights.darknet.layers import Activation, Layer, Shape, check_shape, check_weights

CPU_EPSILON = 1e-6
GPU_EPSILON = 1e-5
_NONE = torch.finfo(torch.float32).tiny


class BatchNorm(nn.BatchNorm2d):
    """Batch norm that divides by ``sqrt(variance) + 1e-6`` as darknet on the CPU, for every variance that this suits.

    Published files have dead channels, whose variance decayed to 0 or to a denormal number such as -7e-44. On the CPU
    darknet itself then gives NaN or noise times a million. Such a channel is divided by ``sqrt(variance + 1e-5)``, as
    all are in darknet on the GPU, where the file was trained. Both formulas agree where the variance is not tiny, so
    the other channels keep the results that were compared with darknet's.
    """

    running_mean: Tensor
    running_var: Tensor
    __call__: Callable[..., Tensor]

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=CPU_EPSILON, momentum=0.01)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return super().forward(x)
        mean, weight, bias = self.running_mean.float(), self.weight.float(), self.bias.float()
        # torch 2.11 refuses an epsilon of 0; next to a variance of at least 1e-12 this one is rounded away.
        return F.batch_norm(x, mean, self._variance(), weight, bias, eps=_NONE)

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """The factor and the offset ``(C,)`` of each channel at inference."""
        scale = self.weight.float() * self._variance().rsqrt()
        return scale, self.bias.float() - self.running_mean.float() * scale

    def _variance(self) -> Tensor:
        """The variance ``(C,)`` by whose root each channel is divided."""
        given = self.running_var.float()
        # A variance below -1e-5 is no rounding: its root is NaN, of which the model warns.
        return torch.where(given < _NONE, given + GPU_EPSILON, (given.sqrt() + self.eps).square())

    def statistics(self) -> list[Tensor]:
        """Scales, means and variances, in the order of every file."""
        return [self.weight, self.running_mean, self.running_var]


class Normalization(Layer):
    """``[batchnorm]`` as a layer of its own; files have scales, means and variances, and no biases, which are zero."""

    def __init__(self, section: Section, shape: Shape, earlier: list[Shape]) -> None:
        super().__init__()
        self.shape = shape
        self.batch_norm = BatchNorm(shape[0])

    def forward(self, x: Tensor) -> Tensor:
        return self.batch_norm(x)

    def stored(self) -> list[Tensor]:
        return self.batch_norm.statistics()


class Convolutional(Layer):
    """``[convolutional]``; the file has biases, batch norm, then weights."""

    def __init__(self, section: Section, shape: Shape, earlier: list[Shape]) -> None:
        super().__init__()
        section.refuse("binary", "xnor", "bin_output", "antialiasing", "deform", "sway", "rotate", "stretch")
        section.refuse("stretch_sway", "coordconv", "reverse", "share_index")
        filters, groups = section.positive("filters", 1), section.positive("groups", 1)
        size, stride = section.positive("size", 1), section.positive("stride", 1)
        strides = section.positive("stride_y", stride), section.positive("stride_x", stride)
        dilation = section.positive("dilation", 1) if size > 1 else 1
        padding = size // 2 if section.integer("pad", 0) else section.integer("padding", 0, least=0)
        if shape[0] % groups or filters % groups:
            raise section.error(
                f"groups={groups} does not divide both {shape[0]} channels and {filters} filters", "groups"
            )
        normalized = section.integer("batch_normalize", 0) or section.integer("cbn", 0)
        reach = dilation * (size - 1) + 1 - 2 * padding * dilation
        height, width = ((side - reach) // step + 1 for side, step in zip(shape[1:], strides, strict=True))
        self.shape = filters, height, width
        check_shape(section, self.shape)
        border = 2 * padding * dilation
        check_shape(section, (shape[0], shape[1] + border, shape[2] + border), "its padded input")
        check_weights(section, filters * (shape[0] // groups) * size**2)
        self.convolution = nn.Conv2d(
            shape[0], filters, size, strides, padding * dilation, dilation, groups, bias=not normalized
        )
        self.batch_norm = BatchNorm(filters) if normalized else None
        self.activation = Activation(section, shape, earlier, default="logistic")
        self.flipped = bool(section.integer("flipped", 0))

    def forward(self, x: Tensor) -> Tensor:
        x = self.convolution(x)
        return self.activation(x if self.batch_norm is None else self.batch_norm(x))

    def stored(self) -> list[Tensor]:
        # Files of flipped layers hold the transposed matrix.
        weight = self.convolution.weight
        weight = weight.view(len(weight), -1).T if self.flipped else weight
        if self.batch_norm is not None:
            return [self.batch_norm.bias, *self.batch_norm.statistics(), weight]
        return [*_biases(self.convolution), weight]


class Deconvolutional(Layer):
    """``[deconvolutional]``; the file is as of ``[convolutional]``."""

    def __init__(self, section: Section, shape: Shape, earlier: list[Shape]) -> None:
        super().__init__()
        filters, size, stride = (section.positive(key, 1) for key in ("filters", "size", "stride"))
        padding = size // 2 if section.integer("pad", 0) else section.integer("padding", 0, least=0)
        normalized = section.integer("batch_normalize", 0)
        height, width = ((side - 1) * stride + size - 2 * padding for side in shape[1:])
        self.shape = filters, height, width
        check_shape(section, self.shape)
        check_weights(section, shape[0] * filters * size**2)
        self.convolution = nn.ConvTranspose2d(shape[0], filters, size, stride, padding, bias=not normalized)
        self.batch_norm = BatchNorm(filters) if normalized else None
        self.activation = Activation(section, shape, earlier, default="logistic")

    forward = Convolutional.forward

    def stored(self) -> list[Tensor]:
        if self.batch_norm is not None:
            return [self.batch_norm.bias, *self.batch_norm.statistics(), self.convolution.weight]
        return [*_biases(self.convolution), self.convolution.weight]


class Connected(Layer):
    """``[connected]``; the file has biases, weights, then batch norm."""

    def __init__(self, section: Section, shape: Shape, earlier: list[Shape]) -> None:
        super().__init__()
        outputs, inputs = section.positive("output", 1), shape[0] * shape[1] * shape[2]
        normalized = section.integer("batch_normalize", 0)
        check_weights(section, inputs * outputs)
        self.linear = nn.Linear(inputs, outputs, bias=not normalized)
        self.batch_norm = BatchNorm(outputs) if normalized else None
        self.activation = Activation(section, shape, earlier, default="logistic")
        self.shape = outputs, 1, 1

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x.flatten(1))[..., None, None]
        return self.activation(x if self.batch_norm is None else self.batch_norm(x))

    def stored(self) -> list[Tensor]:
        if self.batch_norm is not None:
            return [self.batch_norm.bias, self.linear.weight, *self.batch_norm.statistics()]
        return [*_biases(self.linear), self.linear.weight]


class Local(Layer):
    """``[local]``: a convolution with different weights at every location."""

    def __init__(self, section: Section, shape: Shape, earlier: list[Shape]) -> None:
        super().__init__()
        filters, self.size, self.stride = (section.positive(key, 1) for key in ("filters", "size", "stride"))
        self.padding = section.integer("pad", 0, least=0)
        height, width = ((side - (1 if self.padding else self.size)) // self.stride + 1 for side in shape[1:])
        self.shape = filters, height, width
        check_shape(section, self.shape)
        unfolded = [(side + 2 * self.padding - self.size) // self.stride + 1 for side in shape[1:]]
        if unfolded != [height, width]:
            raise section.error(f"pad={self.padding} with size={self.size} reads beyond its input", "pad")
        patch = shape[0] * self.size**2
        check_weights(section, height * width * filters * patch)
        self.weight = nn.Parameter(torch.randn(height * width, filters, patch) * patch**-0.5)
        self.bias = nn.Parameter(torch.zeros(self.shape))
        self.activation = Activation(section, shape, earlier, default="logistic")

    def forward(self, x: Tensor) -> Tensor:
        patches = F.unfold(x, self.size, padding=self.padding, stride=self.stride)  # (B, C * size^2, H * W)
        x = torch.einsum("bpl,lfp->bfl", patches, self.weight)
        return self.activation(x.view(-1, *self.shape) + self.bias)

    def stored(self) -> list[Tensor]:
        return [self.bias, self.weight]


def _biases(layer: nn.Conv2d | nn.ConvTranspose2d | nn.Linear) -> list[Tensor]:
    return [] if layer.bias is None else [layer.bias]
