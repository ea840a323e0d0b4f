"""Whether the code that runs now is being recorded as a graph, whose shapes must not depend on values."""

from __future__ import annotations

import torch


def is_exporting() -> bool:
    """Whether `torch.export` or `torch.jit.trace` records the call: sizes must then not depend on values."""
    # torch does not annotate it.
    return torch.compiler.is_exporting() or bool(torch.jit.is_tracing())  # type: ignore[no-untyped-call]
