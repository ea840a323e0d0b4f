"""What differs in an ONNX graph itself: nodes, their attributes, constants and weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx

from detkit.exporting.runtimes.exported_file import Precision
from detkit.exporting.runtimes.onnx_file import QUANTIZING
from detkit.trust.certificate.parting.onnx_graphs import constants_of, inputs_of, module_of

MOST = 5
_OF_PRECISION = QUANTIZING | {"Cast", "Constant"}
_ROUNDING = {"float32": 0.0, "float16": 2e-3, "int8": 2e-2}
"""Of the largest number of a weight, by how much it may be rounded."""


def graph_changes(given: Any, expected: Any, precision: Precision) -> list[str]:
    """A sentence on each change of the graph `given`, at most five, and how many there are more.

    Args:
        given: the model of a file.
        expected: that of its checkpoint in float32.
        precision: of the file.
    """
    found = [*_nodes(given, expected, precision), *_constants(given, expected, precision)]
    return found[:MOST] + ([f"… and {len(found) - MOST} more"] if len(found) > MOST else [])


def _nodes(given: Any, expected: Any, precision: Precision) -> list[str]:
    ours, theirs = (
        {node.output[0]: node for node in model.graph.node if node.op_type not in _OF_PRECISION}
        for model in (expected, given)
    )
    known = {node.name for node in expected.graph.node}
    constants = constants_of(given.graph), constants_of(expected.graph)
    found = []
    for name, node in theirs.items():
        own = ours.get(name)
        if own is None:
            found += [] if node.name in known else [f"{_words(node)} is not in the checkpoint's graph"]
        elif (own.op_type, own.name) != (node.op_type, node.name):
            found.append(f"{name} comes by {_words(node)} in place of {_words(own)}")
        else:
            found += _attributes(node, own)
            found += _inputs(node, own, constants) if precision == "float32" else []
    has = {node.name for node in given.graph.node}
    lost = [node for name, node in ours.items() if name not in theirs and node.name not in has]
    # A file of another release or exporter has other names, which says nothing of what it computes.
    if len(found) + len(lost) > 0.5 * len(ours):
        return []
    return found + [f"{_words(node)} of the checkpoint's graph is missing" for node in lost]


def _inputs(node: Any, own: Any, constants: tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]) -> list[str]:
    """What a node reads otherwise than the checkpoint's."""
    if len(node.input) != len(own.input):
        return [f"{_words(own)} has {len(node.input)} inputs in place of {len(own.input)}"]
    found = []
    for pair in zip(node.input, own.input, strict=True):
        if pair[0] == pair[1]:
            continue
        first, second = (known.get(name) for known, name in zip(constants, pair, strict=True))
        if first is None or second is None:
            found.append(f"{_words(own)} reads {pair[0]} in place of {pair[1]}")
        elif not np.array_equal(first, second):
            words = [np.array2string(value.squeeze(), threshold=4, edgeitems=2) for value in (first, second)]
            found.append(f"{_words(own)} reads the constant {words[0]} in place of {words[1]}")
    return found


def _attributes(node: Any, own: Any) -> list[str]:
    first, second = ({one.name: one for one in each.attribute} for each in (node, own))
    found = []
    for name in sorted(first.keys() | second.keys()):
        values = [_plain(each.get(name)) for each in (first, second)]
        if values[0] != values[1] and not isinstance(values[1], bytes):
            found.append(f"{name} of {_words(own)} is {values[0]} in place of {values[1]}")
    return found


def _plain(attribute: Any) -> Any:
    if attribute is None:
        return None
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, (onnx.GraphProto, onnx.TensorProto)):
        return value.SerializeToString()
    return value if isinstance(value, (int, float, str, bytes)) else list(value)


def _constants(given: Any, expected: Any, precision: Precision) -> list[str]:
    """Constants that differ, those with few numbers first: a threshold says more than a weight."""
    theirs, ours = constants_of(given.graph), constants_of(expected.graph)
    used = {name: node for node in reversed(expected.graph.node) for name in inputs_of(node)}
    found = []
    for name, own in ours.items():
        other = theirs.get(name)
        other = _dequantized(name, theirs) if other is None else other
        if other is None or name not in used:
            continue
        sentence = _difference(name, other, own, _ROUNDING[precision], _words(used[name]))
        if sentence:
            found.append((own.size, sentence))
    return [sentence for _, sentence in sorted(found, key=lambda item: item[0])]


def _difference(name: str, given: np.ndarray, own: np.ndarray, rounding: float, node: str) -> str | None:
    if given.shape != own.shape:
        return f"{name} of {node} has the shape {given.shape} in place of {own.shape}"
    if own.dtype.kind not in "fiub" or not own.size:
        return None
    first, second = given.astype(np.float64), own.astype(np.float64)
    apart = np.where((first == second) | (np.isnan(first) & np.isnan(second)), 0.0, np.abs(first - second))
    limit = rounding * np.abs(np.where(np.isfinite(second), second, 0)).max()
    differing = int((apart > limit).sum())
    if not differing:
        return None
    if own.size == 1:
        return f"the constant {name} of {node} is {first.item():g} in place of {second.item():g}"
    counts = f"{differing:,} of {own.size:,} numbers, by up to {apart.max():.3g}"
    return f"{name.removeprefix('model.')} of {node} differs in {counts}"


def _dequantized(name: str, constants: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """A weight that ONNX Runtime has quantized, by channels along its first axis or as a whole."""
    parts = [constants.get(f"{name}_{part}") for part in ("quantized", "scale", "zero_point")]
    if any(part is None for part in parts):
        return None
    values, scale, zero = (np.asarray(part, dtype=np.float64) for part in parts)
    if scale.ndim:
        axis = next((axis for axis, side in enumerate(values.shape) if side == len(scale)), 0)
        shape = [-1 if one == axis else 1 for one in range(values.ndim)]
        scale, zero = scale.reshape(shape), zero.reshape(shape)
    return np.asarray((values - zero) * scale)


def _words(node: Any) -> str:
    module = module_of(node)
    return f"{node.name or node.output[0]} ({node.op_type}{f', {module}' if module else ''})"
