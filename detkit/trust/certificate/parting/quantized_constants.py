"""Weights of an ONNX file that ONNX Runtime has quantized, and whether their scales fit together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from detkit.trust.certificate.parting.graph_changes import Change
from detkit.trust.certificate.parting.onnx_graphs import constants_of, nodes_of

_EQUAL = 1e-5
"""Of a scale: the rounding of a product in float32."""


class Dequantized(NamedTuple):
    """A weight.

    Args:
        values: its numbers.
        step: between numbers that it can have, of each of them.
    """

    values: np.ndarray
    step: np.ndarray


def dequantized(name: str, constants: Mapping[str, np.ndarray]) -> Dequantized | None:
    """The weight `name`, quantized by channels or as a whole; None where it is not.

    Args:
        name: of the weight in float32.
        constants: of the file.
    """
    values = constants.get(f"{name}_quantized")
    scale, zero = (
        next((constants[one] for one in (f"{name}_{part}", f"{name}_quantized_{part}") if one in constants), None)
        for part in ("scale", "zero_point")
    )
    return None if values is None or scale is None else _dequantized(values, scale, zero)


def read_constant(name: str, made: Mapping[str, Any], constants: Mapping[str, np.ndarray]) -> Dequantized | None:
    """The constant that a value is after it was dequantized; None where it is none.

    Args:
        name: of the value.
        made: the node of each value.
        constants: of the file.
    """
    node = made.get(name)
    if node is None or node.op_type != "DequantizeLinear":
        return None
    values, scale, zero = ([constants.get(one) for one in node.input] + [None])[:3]
    return None if values is None or scale is None else _dequantized(values, scale, zero)


def _dequantized(values: np.ndarray, scale: np.ndarray, zero: np.ndarray | None) -> Dequantized:
    whole, steps = values.astype(np.float64), scale.astype(np.float64)
    zeros = np.zeros_like(steps) if zero is None else zero.astype(np.float64)
    if steps.ndim and steps.size > 1:
        axis = next((axis for axis, side in enumerate(whole.shape) if side == len(steps)), 0)
        shape = [-1 if one == axis else 1 for one in range(whole.ndim)]
        steps, zeros = steps.reshape(shape), zeros.reshape(shape)
    return Dequantized(np.asarray((whole - zeros) * steps), np.broadcast_to(steps, whole.shape))


def scale_changes(graph: Any) -> Iterator[Change]:
    """Scales that contradict each other: of writing and reading a value, or of a layer and its bias."""
    constants, nodes = constants_of(graph), list(nodes_of(graph))
    made = {name: node for node in nodes for name in node.output}
    for node in nodes:
        if node.op_type != "DequantizeLinear":
            continue
        source = made.get(node.input[0])
        if source is None or source.op_type != "QuantizeLinear":
            continue
        pairs = zip(node.input[1:], source.input[1:], strict=False)
        if any(not _same(constants.get(one), constants.get(other)) for one, other in pairs):
            yield Change(
                f"{source.input[0]} is written as int8 with another scale than it is read with ({node.name})", 1
            )
    for node in nodes:
        if node.op_type not in ("Conv", "Gemm") or len(node.input) < 3:
            continue
        scales = [_scale(name, made, constants) for name in node.input[:3]]
        if any(one is None for one in scales):
            continue
        values, weight, bias = (np.asarray(one, dtype=np.float64) for one in scales)
        fits = np.isclose(bias / (values * weight), 1, rtol=_EQUAL, atol=0)
        if not fits.all():
            ratio = float(np.median((bias / (values * weight))[~fits]))
            yield Change(
                f"the scales of {node.name} ({node.op_type}) do not fit: that of its bias is {ratio:.3g} times the "
                "product of those of its input and its weight",
                1,
            )


def _scale(name: str, made: Mapping[str, Any], constants: Mapping[str, np.ndarray]) -> np.ndarray | None:
    node = made.get(name)
    return None if node is None or node.op_type != "DequantizeLinear" else constants.get(node.input[1])


def _same(first: np.ndarray | None, second: np.ndarray | None) -> bool:
    return first is None or second is None or np.array_equal(first, second)
