"""Compiling the parts of a model that gain from it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from detkit.models import VisionModel
from detkit.preprocess import Preprocess

WHOLE = ("backbone", "neck")
"""Children of a model that are compiled as one graph: they take and return maps alone."""


def compile_parts(model: VisionModel) -> list[str]:
    """Compile backbone, neck and the sequences of layers in heads, in place; the rest of a step stays as it is.

    The rest depends on the number of objects, and its kernels are native. Names of weights do not change. A part is
    compiled at its first call, for training and for validation each: for one size where the preprocessing gives all
    images the same, else for all sizes.

    Returns:
        The names of the compiled parts.
    """
    parts = dict(_parts(model))
    dynamic = True if _sizes_vary(getattr(model, "preprocess", None)) else None
    for part in parts.values():
        _compile(part, dynamic)
    return list(parts)


def _parts(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The parts to compile, by name, each within no other one."""
    for name, child in model.named_children():
        if name not in WHOLE:
            yield from ((f"{name}.{inner}" if inner else name, part) for inner, part in _sequences(child))
        elif not isinstance(child, nn.Identity):
            yield name, child


def _sequences(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The outermost sequences of layers in `module`."""
    if isinstance(module, nn.Sequential):
        yield "", module
        return
    for name, child in module.named_children():
        yield from ((f"{name}.{inner}" if inner else name, part) for inner, part in _sequences(child))


def _sizes_vary(preprocess: Preprocess | None) -> bool:
    """Whether the network's input is known to have other sizes for other images."""
    return preprocess is not None and preprocess.place((240, 320)).size != preprocess.place((480, 320)).size


def _compile(part: nn.Module, dynamic: bool | None) -> None:
    """As `part.compile()`, but with code of its own: torch keeps few graphs of one code, which all modules share."""

    def call(*inputs: Any) -> Any:
        return part._call_impl(*inputs)

    call.__code__ = call.__code__.replace(co_name=f"call_{id(part)}")
    part._compiled_call_impl = torch.compile(call, dynamic=dynamic)
