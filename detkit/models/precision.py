"""Models whose parameters are float16 or bfloat16: layers compute in that precision, boxes in float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from detkit.errors import InputError

_NARROW = (torch.float16, torch.bfloat16)


@contextmanager
def own_precision(model: nn.Module) -> Iterator[None]:
    """Autocast to the precision of a `model` in float16 or bfloat16; nothing for others.

    Autocast lets its layers take images in float32, and box arithmetic stays in float32 as in training.

    Raises:
        InputError: the device has no such operation.
    """
    first = next(model.parameters(), None)
    if first is None or first.dtype not in _NARROW or torch.is_autocast_enabled(first.device.type):
        yield
        return
    try:
        with torch.autocast(first.device.type, dtype=first.dtype):
            yield
    except RuntimeError as error:
        if "not implemented for" not in str(error):
            raise
        name = str(first.dtype).removeprefix("torch.")
        raise InputError(
            f"a {type(model).__name__} in {name} cannot run on the {first.device.type}: torch lacks an operation "
            f"({error}); use model.float(), or another device"
        ) from error


@contextmanager
def keep_float32(model: nn.Module) -> Iterator[None]:
    """Within it, converting `model` to float16 or bfloat16 leaves float32 buffers that are no part of its state.

    These are anchors and the statistics of pixels. bfloat16 has no odd numbers above 256, and anchors would move.
    """
    exact = list(_float32_buffers(model))
    yield
    for module, name, before in exact:
        after = module._buffers[name]
        if after is not None and after.dtype in _NARROW:
            module._buffers[name] = before.to(after.device)


def _float32_buffers(model: nn.Module) -> Iterator[tuple[nn.Module, str, Tensor]]:
    """The modules, names and values of buffers that no state dict holds."""
    for module in model.modules():
        for name in module._non_persistent_buffers_set:
            buffer = module._buffers[name]
            if buffer is not None and buffer.dtype == torch.float32:
                yield module, name, buffer
