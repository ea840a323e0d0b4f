"""Parts of ONNX graphs: the values between the first nodes and the rest, and a model that computes some values."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

AFTER_RANKING = frozenset({"TopK", "NonMaxSuppression", "NonZero", "ArgMax", "Unique"})
"""Operations whose result changes by leaps: what follows cannot be compared in lower precision."""


def inputs_of(node: Any) -> Iterator[str]:
    """The values that a node reads, those of its subgraphs that come from outside too."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        for graph in _subgraphs(attribute):
            own = {one.name for one in (*graph.input, *graph.initializer)}
            own |= {name for inner in graph.node for name in inner.output}
            yield from (name for inner in graph.node for name in inputs_of(inner) if name not in own)


def nodes_of(graph: Any) -> Iterator[Any]:
    """All nodes of a graph, those of its subgraphs after the one they belong to."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in _subgraphs(attribute):
                yield from nodes_of(inner)


def module_of(node: Any) -> str:
    """The part of the model that a node belongs to, as the exporter has noted it."""
    for entry in node.metadata_props:
        if entry.key == "pkg.torch.onnx.name_scopes":
            scopes = [one.strip(" '\"") for one in entry.value.strip("[]").split(",")][:-1]
            named = [one for one in scopes if one and not one.startswith("_")]
            return named[-1].removeprefix("model.") if named else ""
    return ""


def constants_of(graph: Any) -> dict[str, np.ndarray]:
    """Weights and constants by the names of their values, those of subgraphs too."""
    found = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    for node in graph.node:
        value = _constant(node) if node.op_type == "Constant" else None
        if value is not None:
            found[node.output[0]] = value
        for attribute in node.attribute:
            for inner in _subgraphs(attribute):
                found |= constants_of(inner)
    return found


def computing(model: Any, names: Collection[str]) -> bytes:
    """The content of a model that computes the values `names` and nothing that they do not need."""
    needed, kept = set(names), []
    for node in reversed(model.graph.node):
        if needed & set(node.output):
            kept.append(node)
            needed.update(inputs_of(node))
    part = onnx.ModelProto()
    part.ir_version, part.producer_name = model.ir_version, model.producer_name
    part.opset_import.extend(model.opset_import)
    part.functions.extend(model.functions)
    part.graph.name = model.graph.name
    part.graph.node.extend(reversed(kept))
    part.graph.initializer.extend(one for one in model.graph.initializer if one.name in needed)
    part.graph.input.extend(one for one in model.graph.input if one.name in needed)
    part.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    content: bytes = part.SerializeToString()
    return content


def cuts(model: Any, shared: Collection[str]) -> list[list[str]]:
    """For each number of nodes, counted from the first, those of their values that are read later.

    Args:
        model: whose nodes are in the order in which they are computed.
        shared: the values that count.
    """
    last_use = {one.name: len(model.graph.node) for one in model.graph.output}
    for index, node in enumerate(model.graph.node):
        for name in inputs_of(node):
            last_use[name] = max(last_use.get(name, 0), index)
    found: list[list[str]] = [[]]
    alive: list[str] = []
    for index, node in enumerate(model.graph.node):
        alive = [name for name in alive if last_use[name] > index]
        alive += [name for name in node.output if name in shared and last_use.get(name, -1) > index]
        found.append(list(alive))
    return found


def ranked(model: Any) -> set[str]:
    """The values that follow a ranking or a selection."""
    found: set[str] = set()
    for node in model.graph.node:
        if node.op_type in AFTER_RANKING or found & set(inputs_of(node)):
            found.update(node.output)
    return found


def _subgraphs(attribute: Any) -> Iterator[Any]:
    if attribute.type == onnx.AttributeProto.GRAPH:
        yield attribute.g
    yield from attribute.graphs


def _constant(node: Any) -> np.ndarray | None:
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        if isinstance(value, onnx.TensorProto):
            return numpy_helper.to_array(value)
        if isinstance(value, (int, float, list)):
            return np.asarray(value)
    return None
