"""`Parting`: where two graphs part, and how two values differ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detkit.exporting.runtimes.exported_file import Precision

LIMITS: dict[Precision, float] = {"float32": 1e-5, "float16": 0.02, "int8": 0.35}
"""The relative difference of a value that is not rounding. In float32 both graphs run alike, so nearly nothing is."""


@dataclass(frozen=True)
class Parting:
    """Where a file parts from its checkpoint.

    Args:
        node: the first node whose value differs; None where none does.
        looked_at: how many values were compared.
        note: why there is no node; empty where there is one.
    """

    node: PartedNode | None = None
    looked_at: int = 0
    note: str = ""


@dataclass(frozen=True)
class PartedNode:
    """A node whose inputs are equal and whose value differs.

    Args:
        name: of the node.
        operation: its type.
        module: the part of the model that it belongs to; empty where it is unknown.
        value: the name of its output.
        difference: the largest difference of its numbers.
        relative: the same, of its largest number.
        inputs: its inputs that the checkpoint's graph does not have, each with what makes it.
    """

    name: str
    operation: str
    module: str
    value: str
    difference: float
    relative: float
    inputs: tuple[str, ...] = ()

    def __str__(self) -> str:
        """``node_conv2d (Conv) of backbone.stages.0.0``."""
        return f"{self.name} ({self.operation}){f' of {self.module}' if self.module else ''}"


def difference_of(given: np.ndarray, expected: np.ndarray, precision: Precision) -> tuple[float, float]:
    """The largest difference of two values, and how large it is of the largest number; infinite for other shapes.

    In lower precision the relative one is that of the root mean squares: single numbers differ by more.
    """
    if given.shape != expected.shape:
        return float("inf"), float("inf")
    if not given.size:
        return 0.0, 0.0
    if given.dtype.kind in "biu" and expected.dtype.kind in "biu":
        apart = np.abs(given.astype(np.int64) - expected.astype(np.int64)).max()
        return float(apart), float(apart > 0)
    first, second = given.astype(np.float64), expected.astype(np.float64)
    equal = (first == second) | (np.isnan(first) & np.isnan(second))
    apart = np.where(equal, 0.0, np.abs(first - second))
    if not np.isfinite(apart).all():
        return float("inf"), float("inf")
    finite = np.where(np.isfinite(second), second, 0.0)
    if precision == "float32":
        size, scale = apart.max(), np.abs(finite).max()
    else:
        size, scale = np.sqrt(np.square(apart).mean()), np.sqrt(np.square(finite).mean())
    return float(apart.max()), float(size / scale) if scale > 0 else float(size > 0)
