"""What differs in an ONNX graph itself: nodes, their attributes, constants and weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx

from detkit.exporting.runtimes.exported_file import Precision
from detkit.exporting.runtimes.onnx_file import QUANTIZING
from detkit.trust.certificate.parting.graph_changes import (
    LEAST_WEIGHT,
    Change,
    GraphChanges,
    constant_change,
    rounding_of,
    shown_numbers,
)
from detkit.trust.certificate.parting.onnx_graphs import constants_of, inputs_of, module_of, nodes_of
from detkit.trust.certificate.parting.quantized_constants import dequantized, read_constant, scale_changes

_OF_PRECISION = QUANTIZING | {"Cast", "Constant"}
_ROUNDING: dict[Precision, float] = {"float32": 1e-6, "float16": 1e-3, "int8": 1e-6}
"""Of the largest number of a constant, by how much it may be rounded: folding batch norm rounds float32, too."""
_SAME_GRAPH = 0.5
"""The share of the checkpoint's nodes that a file of it has, by name."""


def onnx_changes(given: Any, expected: Any, precision: Precision) -> GraphChanges:
    """What differs in the graph `given`.

    Args:
        given: the model of a file.
        expected: that of its checkpoint.
        precision: of the file, where that of the checkpoint is in float32; else ``"float32"``.
    """
    compared = _Compared(given, expected, precision)
    constants, nodes = dict(compared.constants()), list(compared.nodes())
    releases = [_release(one) for one in (given, expected)]
    is_other = compared.other >= _SAME_GRAPH * len(compared.ours) or (compared.other and releases[0] != releases[1])
    if not is_other:
        return GraphChanges.of([*constants.values(), *scale_changes(given.graph), *nodes], compared.weights)
    # Other constants than those of the model are numbered, by each release in its own way.
    named = [change for name, change in constants.items() if "." in name]
    words = [" ".join(filter(None, one)) or "unknown" for one in releases]
    why = f"it was made with {words[0]}, and this is {words[1]}"
    why = why if releases[0] != releases[1] else "another tool may have changed it"
    note = f"{compared.other} of {len(compared.ours)} nodes are not those of the checkpoint's graph: {why}"
    return GraphChanges.of(named, compared.weights, note)


def _release(model: Any) -> tuple[str, ...]:
    """What a file was made with, as far as it is known."""
    facts = {entry.key: entry.value for entry in model.metadata_props}
    own = f"detkit {facts['detkit.version']}" if "detkit.version" in facts else ""
    return model.producer_name, model.producer_version, own


class _Compared:
    """Two graphs.

    Attributes:
        ours, theirs: the nodes of the checkpoint and of the file by their first output.
        other: how many nodes are of one graph alone.
        weights: how many weights were compared.
    """

    def __init__(self, given: Any, expected: Any, precision: Precision) -> None:
        self.given, self.expected, self.precision = given, expected, precision
        self.ours, self.theirs = (
            {node.output[0]: node for node in nodes_of(model.graph) if node.op_type not in _OF_PRECISION}
            for model in (expected, given)
        )
        self.their_constants, self.own_constants = constants_of(given.graph), constants_of(expected.graph)
        self.made = {name: node for node in nodes_of(given.graph) for name in node.output}
        self.own_made = {name: node for node in nodes_of(expected.graph) for name in node.output}
        self.other = self.weights = 0

    def nodes(self) -> Iterator[Change]:
        """Nodes that are other ones, were added or are missing, and what they read."""
        known, has = ({node.name for node in one.values()} for one in (self.ours, self.theirs))
        for name, node in self.theirs.items():
            own = self.ours.get(name)
            if own is None:
                if node.name not in known:
                    self.other += 1
                    yield Change(f"{_words(node)} is not in the checkpoint's graph")
            elif (own.domain, own.op_type, own.name) != (node.domain, node.op_type, node.name):
                self.other += 1
                yield Change(f"{name} comes by {_words(node)} in place of {_words(own)}")
            else:
                yield from _attributes(node, own)
                yield from self._inputs(node, own)
        for name, node in self.ours.items():
            if name not in self.theirs and node.name not in has:
                self.other += 1
                yield Change(f"{_words(node)} of the checkpoint's graph is missing")
        outputs = [[one.name for one in model.graph.output] for model in (self.given, self.expected)]
        if outputs[0] != outputs[1]:
            yield Change(f"its outputs are {', '.join(outputs[0])} in place of {', '.join(outputs[1])}")

    def constants(self) -> Iterator[tuple[str, Change]]:
        """Constants that differ, by name."""
        used = {name: node for node in reversed(list(nodes_of(self.expected.graph))) for name in inputs_of(node)}
        share = _ROUNDING[self.precision]
        for name, own in self.own_constants.items():
            if name not in used:
                continue
            other, limit = self.their_constants.get(name), rounding_of(own, share)
            steps: float | np.ndarray = limit
            if other is None:
                quantized = dequantized(name, self.their_constants)
                if quantized is None:
                    continue
                other, steps = quantized.values, 0.501 * quantized.step + limit
            self.weights += own.size >= LEAST_WEIGHT
            words = f"{name.removeprefix('model.')} of {_words(used[name])}"
            change = constant_change(f"the constant {words}" if own.size == 1 else words, other, own, steps)
            if change is not None:
                yield name, change

    def _inputs(self, node: Any, own: Any) -> Iterator[Change]:
        """What a node reads otherwise than the checkpoint's."""
        if len(node.input) != len(own.input):
            yield Change(f"{_words(own)} has {len(node.input)} inputs in place of {len(own.input)}")
            return
        for pair in zip(node.input, own.input, strict=True):
            names = _origin(pair[0], self.made), _origin(pair[1], self.own_made)
            # The last of these is the output of a layer before it is quantized, where that is an output of the file.
            if names[0] in (names[1], f"{names[1]}_quantized", f"{names[1]}_QuantizeLinear_Input"):
                continue
            first, second = self.their_constants.get(names[0]), self.own_constants.get(names[1])
            read = read_constant(pair[0], self.made, self.their_constants)
            limit: float | np.ndarray = 0.0 if second is None else rounding_of(second, _ROUNDING[self.precision])
            if read is not None:  # one that two layers share is quantized for each
                first, limit = read.values, 0.501 * read.step + limit
            if first is None or second is None:
                yield Change(f"{_words(own)} reads {names[0]} in place of {names[1]}")
            elif constant_change("", first, second, limit):
                words = shown_numbers((first, second))
                yield Change(f"{_words(own)} reads the constant {words[0]} in place of {words[1]}", second.size)


def _origin(name: str, made: Mapping[str, Any]) -> str:
    """The value before changes of precision."""
    while name in made and made[name].op_type in _OF_PRECISION - {"Constant"}:
        name = made[name].input[0]
    return name


def _attributes(node: Any, own: Any) -> Iterator[Change]:
    first, second = ({one.name: one for one in each.attribute} for each in (node, own))
    for name in sorted(first.keys() | second.keys()):
        values = [_plain(each.get(name)) for each in (first, second)]
        if values[0] != values[1]:
            yield Change(f"{name} of {_words(own)} is {values[0]} in place of {values[1]}")


def _plain(attribute: Any) -> Any:
    if attribute is None:
        return None
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, onnx.GraphProto):
        return "a graph"  # whose nodes are compared among the others
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value).tolist()
    return value if isinstance(value, (int, float, str, bytes)) else list(value)


def _words(node: Any) -> str:
    module = module_of(node)
    return f"{node.name or node.output[0]} ({node.op_type}{f', {module}' if module else ''})"
