"""The native library: loading it, and the devices that it has kernels for."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from detkit.errors import InputError

logger = logging.getLogger(__name__)

_PACKAGE = Path(__file__).resolve().parent.parent


def _load(name: str) -> bool:
    path = _PACKAGE / name
    if not path.exists():
        return False
    try:
        torch.ops.load_library(path)  # type: ignore[no-untyped-call]  # torch does not annotate it
    except OSError as error:
        logger.warning("detkit's native library %s does not load: %s", path, error)
        return False
    return True


def _load_all() -> frozenset[str]:
    if not _load("_C.so"):
        logger.warning(
            "detkit's native kernels are not in use, so its ops run as plain torch: correct, but slower. To build "
            "them, install a C++ compiler and run `python -m pip install .` in detkit's source folder."
        )
        return frozenset()
    # A torch without CUDA lacks the libraries that the CUDA kernels link to.
    if torch.version.cuda is not None and _load("_C_cuda.so"):
        return frozenset({"cpu", "cuda"})
    return frozenset({"cpu"})


NATIVE_DEVICES = _load_all()
"""The device types that have native kernels. Where empty, the ops of `torch.ops.detkit` do not exist."""


def is_native(device: torch.device) -> bool:
    """Whether the ops have a native kernel for `device`."""
    return device.type in NATIVE_DEVICES


def backend() -> str:
    """The implementation of the ops: "native+cuda", "native" (CPU kernels only) or "reference" (plain torch)."""
    if not NATIVE_DEVICES:
        return "reference"
    return "native+cuda" if "cuda" in NATIVE_DEVICES else "native"


def native_operation(name: str) -> Callable[..., Any]:
    """The operation `name` as a graph holds it, such as ``torch.ops.detkit.nms.default``.

    Raises:
        InputError: the native library is not built, so that there is none.
    """
    if not NATIVE_DEVICES:
        raise InputError(
            "An exported graph holds detkit's native operations, which are not built here: install a C++ compiler and "
            "run `python -m pip install .` in detkit's source folder."
        )
    operation: Callable[..., Any] = getattr(torch.ops.detkit, name).default
    return operation
