"""Silence while graphs are translated: what translators say of their steps is of no use to who exports."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_TALKATIVE = ("onnxscript", "onnx_ir", "torch.onnx", "root")
"""Loggers; ONNX Runtime's quantization speaks to the root."""


@contextmanager
def quiet_translation() -> Iterator[None]:
    """Show nothing but errors of the packages that translate graphs, and no warnings."""
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    levels = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)
