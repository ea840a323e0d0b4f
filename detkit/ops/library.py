"""The native library: where it is, whether it loads, and what is used when it is not there."""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path

import torch

logger = logging.getLogger(__name__)

_FOLDER = Path(__file__).resolve().parent.parent


@cache
def loaded() -> frozenset[str]:
    """The device types ("cpu", "cuda") that have native kernels; the first call loads the library."""
    if not _load("_C"):
        logger.warning(
            "detkit's native kernels were not built, so its ops run as plain torch, correct but slower. To build them, "
            "install a C++ compiler and run `python -m pip install --no-build-isolation .` in detkit's folder."
        )
        return frozenset()
    if torch.cuda.is_available() and _load("_C_cuda"):
        return frozenset({"cpu", "cuda"})
    return frozenset({"cpu"})


def is_native(device: torch.device) -> bool:
    """Whether the ops have a native kernel for `device`."""
    return device.type in loaded()


def backend() -> str:
    """What the ops run on: "native+cuda", "native" (CPU kernels) or "reference" (plain torch)."""
    if not loaded():
        return "reference"
    return "native+cuda" if "cuda" in loaded() else "native"


def _load(name: str) -> bool:
    path = _FOLDER / f"{name}.so"
    if not path.exists():
        return False
    try:
        torch.ops.load_library(path)
    except OSError as error:
        logger.warning("detkit's native library %s does not load: %s", path, error)
        return False
    return True
