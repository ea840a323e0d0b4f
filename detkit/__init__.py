"""detkit: object detection and segmentation on PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from detkit.deprecation.moved_modules import find_moved_modules

if TYPE_CHECKING:
    from detkit.engine.checkpoint import load as load

__version__ = "0.1.0"
__all__ = ["__version__", "load"]

find_moved_modules()


def __getattr__(name: str) -> Any:
    """Import `load` on first use, so that ``import detkit`` does not import torch."""
    if name == "load":
        from detkit.engine.checkpoint import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
