"""Batch norm as what it is at inference: one factor and one offset per channel."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from timm.layers import FrozenBatchNormAct2d as TimmFrozenBatchNormAct2d
from timm.layers import freeze_batch_norm_2d
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d as TorchvisionFrozenBatchNorm2d

Factors = tuple[Tensor, Tensor]


@runtime_checkable
class ScaleAndShift(Protocol):
    """A layer that multiplies and adds at inference, by a formula of its own."""

    def scale_and_shift(self) -> Factors:
        """The factor and the offset of each channel, both ``(C,)``."""


def scale_and_shift(norm: Any) -> Factors:
    """The factor and the offset ``(C,)`` of each channel of a batch norm with its stored statistics."""
    scale = (norm.running_var + norm.eps).rsqrt()
    if norm.weight is None:
        return scale, -norm.running_mean * scale
    scale = norm.weight * scale
    return scale, torch.addcmul(norm.bias, norm.running_mean, scale, value=-1)


class _OneMultiplyAdd(nn.Module):
    """The frozen layers' arithmetic: one pass over the map, in its precision, which keeps nothing for the backward."""

    running_mean: Tensor
    eps: float
    _known: tuple[tuple[Any, ...], list[Tensor], Factors] | None = None

    def scale_and_shift(self) -> Factors:
        """The factor and the offset of each channel, both ``(C,)``."""
        return scale_and_shift(self)

    def _normalize(self, x: Tensor) -> Tensor:
        scale, shift = self._factors(x.dtype)
        return torch.addcmul(shift, x, scale)

    def _factors(self, dtype: torch.dtype) -> Factors:
        """Those of `scale_and_shift` ``(C, 1, 1)`` in `dtype`; computed again once a buffer or epsilon has changed.

        They take five small operations, for which a GPU would wait at each layer of each step.
        """
        buffers = list(self._buffers.values())
        # Tensors of other types are those of tracers; those of inference mode do not count their changes.
        if torch.compiler.is_compiling() or any(type(one) is not Tensor or one.is_inference() for one in buffers):
            return self._computed(dtype)
        key = (dtype, self.eps, *((one.data_ptr(), one._version, one.dtype) for one in buffers if one is not None))
        known = self._known
        if known is None or known[0] != key:
            # The aliases keep the memory, so that no other buffer gets its address. A tensor that is made in inference
            # mode could not be used in training later.
            with torch.inference_mode(False), torch.no_grad():
                known = key, [one.detach() for one in buffers if one is not None], self._computed(dtype)
            if type(known[2][0]) is Tensor:
                self._known = known
        return known[2]

    def _computed(self, dtype: torch.dtype) -> Factors:
        scale, shift = self.scale_and_shift()
        return scale.to(dtype)[:, None, None], shift.to(dtype)[:, None, None]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_known"}


class FrozenBatchNorm2d(_OneMultiplyAdd, TorchvisionFrozenBatchNorm2d):  # type: ignore[misc]  # torchvision has no types
    """Batch norm that uses its stored statistics and is not trained; buffers as of torchvision's."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalize ``(B, C, H, W)``, in the precision of `x`."""
        return self._normalize(x)


class FrozenBatchNormAct2d(_OneMultiplyAdd, TimmFrozenBatchNormAct2d):
    """Batch norm that uses its stored statistics and is not trained, then timm's dropout and activation."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalize and activate ``(B, C, H, W)``, in the precision of `x`."""
        activated: Tensor = self.act(self.drop(self._normalize(x)))
        return activated


def set_batch_norm_epsilon(module: nn.Module, epsilon: float) -> None:
    """Set epsilon in every batch norm of `module`, frozen or not."""
    for layer in module.modules():
        if isinstance(layer, (nn.BatchNorm2d, TorchvisionFrozenBatchNorm2d)):
            layer.eps = epsilon


def freeze_batch_norm(module: nn.Module) -> nn.Module:
    """`module` with batch norm that uses its stored statistics and is not trained."""
    frozen: nn.Module = freeze_batch_norm_2d(module)  # type: ignore[no-untyped-call]  # timm does not annotate it
    for layer in frozen.modules():
        # The same buffers and attributes, with a faster `forward`.
        if type(layer) is TorchvisionFrozenBatchNorm2d:
            layer.__class__ = FrozenBatchNorm2d
        elif type(layer) is TimmFrozenBatchNormAct2d:
            layer.__class__ = FrozenBatchNormAct2d
    return frozen
