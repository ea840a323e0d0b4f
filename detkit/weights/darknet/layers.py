"""Darknet's layers without weights, and their base class; one module for each kind of section in a ``.cfg``.

Each is built from its section, the shape ``(C, H, W)`` of its input and the shapes of all earlier layers, and has:

- `shape`: of its output. A vector is ``(C, 1, 1)``.
- `sources`: the earlier layers whose outputs `forward` takes after its input.
- `stored`: its weights in the order of a ``.weights`` file.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.weights.darknet.cfg import Section

Shape = tuple[int, int, int]

MOST_VALUES = 2**28
"""Of one map of an image: 1 GiB. The largest of published networks have 2^27."""
MOST_WEIGHTS = 2**29
"""Of a network: 2 GiB. The largest published one, YOLOv1, has 2^28."""

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
    """Base class; by default without weights, and with no inputs from earlier layers but the last one."""

    shape: Shape
    sources: tuple[int, ...] = ()
    __call__: Callable[..., Tensor]

    def stored(self) -> list[Tensor]:
        """The weights in the order of the file."""
        return []


class Activation(Layer):
    """``[activation]``, and the activation at the end of other layers, which is `default` if the section has none."""

    def __init__(self, section: Section, shape: Shape, earlier: list[Shape], default: str = "linear") -> None:
        super().__init__()
        self.shape, self.name = shape, section.choice("activation", default, _ACTIVATIONS)

    def forward(self, x: Tensor) -> Tensor:
        return _ACTIVATIONS[self.name](x)


class Pool(Layer):
    """``[maxpool]`` and ``[local_avgpool]``: padded by ``size - 1`` in total, the odd pixel at the right and bottom."""

    def __init__(self, section: Section, shape: Shape, earlier: list[Shape]) -> None:
        super().__init__()
        section.refuse("antialiasing", "maxpool_depth", "maxpool_zero_nonmax")
        stride = section.positive("stride", 1)
        self.strides = section.positive("stride_y", stride), section.positive("stride_x", stride)
        self.size = section.positive("size", stride)
        self.average = section.kind.startswith("local_avg")
        self.padding = section.integer("padding", self.size - 1, least=0)
        check_shape(section, (shape[0], shape[1] + self.padding, shape[2] + self.padding), "its padded input")
        height, width = (
            (side + self.padding - self.size) // step + 1 for side, step in zip(shape[1:], self.strides, strict=True)
        )
        self.shape = shape[0], height, width
        check_shape(section, self.shape)

    def forward(self, x: Tensor) -> Tensor:
        before, after = self.padding // 2, self.padding - self.padding // 2
        if not self.average:
            x = F.pad(x, (before, after, before, after), value=-torch.inf)
            return F.max_pool2d(x, self.size, self.strides)
        # The mean over the pixels inside of the map.
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
    """``[dropout]``, which does nothing in detection."""

    def __init__(self, section: Section, shape: Shape, earlier: list[Shape]) -> None:
        super().__init__()
        self.shape, self.probability = shape, section.number("probability", 0.2, least=0, most=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.probability, self.training)


class Same(Layer):
    """``[cost]``, ``[empty]`` and ``[silence]``: the identity."""

    def __init__(self, section: Section, shape: Shape, earlier: list[Shape]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        return x


class Crop(Layer):
    """``[crop]``: a center crop, mapped from [0, 1] to [-1, 1] unless ``noadjust``; without augmentation."""

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
    """``[upsample]``: repeats every pixel `stride` times in each direction; a negative stride sums pixels instead."""

    def __init__(self, section: Section, shape: Shape, earlier: list[Shape]) -> None:
        super().__init__()
        stride = section.integer("stride", 2)
        if stride == 0:
            raise section.error("stride must not be 0", "stride")
        self.stride, self.scale = stride, section.number("scale", 1)
        height, width = (side * stride if stride > 0 else side // -stride for side in shape[1:])
        self.shape = shape[0], height, width
        check_shape(section, self.shape)

    def forward(self, x: Tensor) -> Tensor:
        if self.stride > 0:
            return self.scale * F.interpolate(x, scale_factor=float(self.stride), mode="nearest")
        return self.scale * F.avg_pool2d(x, -self.stride, divisor_override=1)


def check_shape(section: Section, shape: Shape, what: str = "its output") -> None:
    """Raise the error of a layer with an empty map, or with one that is too large for the memory."""
    size = f"{shape[2]} x {shape[1]} x {shape[0]}"
    if min(shape) < 1:
        raise section.error(f"{what} would be {size}; is the input of [net] too small?")
    if math.prod(shape) > MOST_VALUES:
        raise section.error(f"{what} would be {size}, more than {MOST_VALUES:,} numbers for an image")


def check_weights(section: Section, count: int) -> None:
    """Raise the error of a layer with more weights than fit into the memory, before they are made."""
    if count > MOST_WEIGHTS:
        raise section.error(f"it would have {count:,} weights, more than {MOST_WEIGHTS:,}")
