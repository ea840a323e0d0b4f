"""The layers of a model, and what decides which of them can be folded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from weakref import ref

from torch import nn

from detkit.models.folding.module_copies import stays

_FIXED = ("torch.", "torchvision.", "timm.")  # their layers follow one another as they were built


class Layout(NamedTuple):
    """The layers of a model, in the order of `modules`: which they are, and their settings.

    Layouts are equal as long as the same convolutions and batch norms follow each other, computed in the same way.
    """

    layers: list[ref[nn.Module]]
    settings: list[tuple[Any, ...]]

    @classmethod
    def of(cls, modules: Sequence[nn.Module]) -> Layout:
        """That of a model with these `modules`."""
        return cls([ref(module) for module in modules], [_settings(module) for module in modules])


def _settings(module: nn.Module) -> tuple[Any, ...]:
    own = module.__dict__
    has_statistics = own["_buffers"].get("running_var") is not None
    known = type(module), stays(module), "forward" in own, own.get("eps"), has_statistics
    return known if type(module).__module__.startswith(_FIXED) else (*known, _switches(own))


def _switches(own: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    """The attributes by which a layer of one's own may choose its path."""
    return tuple((name, value) for name, value in own.items() if isinstance(value, (bool, str)))
