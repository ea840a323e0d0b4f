"""detkit: object detection and segmentation on PyTorch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from detkit.deprecation.moved_modules import find_moved_modules

if TYPE_CHECKING:
    from detkit.engine.checkpoint import load as load
    from detkit.engine.verbs import Run as Run
    from detkit.engine.verbs import compare as compare
    from detkit.engine.verbs import doctor as doctor
    from detkit.engine.verbs import evaluate as evaluate
    from detkit.engine.verbs import export as export
    from detkit.engine.verbs import inspect as inspect
    from detkit.engine.verbs import report as report
    from detkit.engine.verbs import train as train
    from detkit.engine.verbs import verify as verify

__version__ = "0.1.0"
__all__ = [
    "Run",
    "__version__",
    "compare",
    "doctor",
    "evaluate",
    "export",
    "inspect",
    "load",
    "report",
    "train",
    "verify",
]

_VERBS = ("Run", "compare", "doctor", "evaluate", "export", "inspect", "report", "train", "verify")
_HOMES = {"load": "detkit.engine.checkpoint"} | dict.fromkeys(_VERBS, "detkit.engine.verbs")

find_moved_modules()


if not TYPE_CHECKING:  # a checker of types knows the names from above, and finds misspelled ones

    def __getattr__(name: str) -> Any:
        """Import the verbs on first use, so that ``import detkit`` does not import torch."""
        if name in _HOMES:
            return getattr(importlib.import_module(_HOMES[name]), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
