"""Small graphs that the translations share.

n  values of an index
"""

from __future__ import annotations

from typing import Any

from onnxscript import opset18

# onnxscript types its operators for what runs at once, not for values of a graph.
op: Any = opset18
Value = Any


def scalar(number: Value) -> Value:
    """An int64 constant without dimensions; a value of the graph is returned as it is."""
    return op.Constant(value_int=number) if isinstance(number, int) else number


def vector(*numbers: int) -> Value:
    """An int64 constant ``(n,)``."""
    return op.Constant(value_ints=numbers)


def where(condition: Value) -> Value:
    """The indices ``(n,)`` at which `condition` ``(N,)`` is true."""
    return op.Squeeze(op.NonZero(condition), [0])


def range_like(values: Value) -> Value:
    """``0, 1, 2 ...`` as many as `values` ``(n,)``."""
    return op.Range(scalar(0), op.Squeeze(op.Shape(values), [0]), scalar(1))


def columns(table: Value, begin: int, end: int) -> Value:
    """The columns `begin` to `end` of `table` ``(n, k)``."""
    return op.Slice(table, [begin], [end], [1])


def column(table: Value, index: int) -> Value:
    """A column ``(n,)`` of `table` ``(n, k)``."""
    return op.Squeeze(columns(table, index, index + 1), [1])
