"""Where an ONNX file parts from its checkpoint, by bisection over the nodes of its graph.

The values that the first n nodes pass on decide all that follows: where none of them differs, the difference arises
later. So log2(n) runs find the first node whose value differs, with a few values in memory at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from detkit.exporting.runtimes.exported_file import Precision
from detkit.exporting.runtimes.onnx_file import OnnxFile, session_of
from detkit.trust.certificate.parting.onnx_graphs import computing, cuts, inputs_of, module_of, ranked
from detkit.trust.certificate.parting.parted_node import LIMITS, PartedNode, Parting, difference_of

_STEPS = 12
_LEAST_SHARED = 0.5
"""The share of the checkpoint's values that a file must have, by name, to be compared value by value."""


def onnx_parting(file: OnnxFile, reference: Any, inputs: Mapping[str, Any]) -> Parting:
    """The first node of a file whose value differs from that of the checkpoint's graph.

    Args:
        file: the file.
        reference: the checkpoint's graph in float32, as an ONNX model.
        inputs: of an image whose answers differ.
    """
    made = {name: node for node in file.proto.graph.node for name in node.output}
    own = {name: node for node in reference.graph.node for name in node.output}
    shared = made.keys() & own.keys()
    if len(shared) < _LEAST_SHARED * len(own):
        note = f"only {len(shared)} of {len(own)} values have names of this release of detkit, so no node is compared"
        return Parting(None, 0, note)
    if file.precision != "float32":
        shared -= ranked(reference)
    search = _Search(file, reference, file.fed(inputs), {name: np.asarray(value) for name, value in inputs.items()})
    parts = cuts(file.proto, shared)
    low, high = _bounds(search, parts)
    if high == 0:
        return Parting(None, search.looked_at, "no value of the graph differs")
    while high - low > 1:
        middle = (low + high) // 2
        if search.differs(parts[middle]):
            high = middle
        else:
            low = middle
    node = file.proto.graph.node[high - 1]
    name, (difference, relative) = max(search.compared(parts[high]).items(), key=lambda item: item[1][1])
    foreign = tuple(
        f"{one} by {made[one].op_type}"
        for one in inputs_of(node)
        if one in made and one not in own and _is_new(made[one])
    )
    module = module_of(own[name]) or module_of(node)
    return Parting(
        PartedNode(node.name or name, node.op_type, module, name, difference, relative, foreign),
        search.looked_at,
    )


def _bounds(search: _Search, parts: list[list[str]]) -> tuple[int, int]:
    """Numbers of nodes between which the difference arises; zeros where there is none.

    In float32 whatever differs reaches the outputs. In lower precision these follow a ranking and are not compared, so
    some numbers of nodes are looked at from the first on.
    """
    last = len(parts) - 1
    if search.precision == "float32":
        return (0, last) if search.differs(parts[last]) else (0, 0)
    known = [index for index, names in enumerate(parts) if names]
    tried = sorted({known[round(step * (len(known) - 1) / _STEPS)] for step in range(_STEPS + 1)}) if known else []
    before = 0
    for index in tried:
        if search.differs(parts[index]):
            return before, index
        before = index
    return 0, 0


def _is_new(node: Any) -> bool:
    """Whether a node is not one that a change of precision adds."""
    return node.op_type not in ("QuantizeLinear", "DequantizeLinear", "Cast")


class _Search:
    """Compares values of both graphs for one image."""

    def __init__(
        self, file: OnnxFile, reference: Any, fed: Mapping[str, np.ndarray], given: Mapping[str, np.ndarray]
    ) -> None:
        self.file, self.reference, self.fed, self.given = file, reference, fed, given
        self.precision: Precision = file.precision
        self.known: dict[str, tuple[float, float]] = {}

    @property
    def looked_at(self) -> int:
        """How many values were compared."""
        return len(self.known)

    def differs(self, names: list[str]) -> bool:
        """Whether one of these values differs by more than rounding."""
        return any(relative > LIMITS[self.precision] for _, relative in self.compared(names).values())

    def compared(self, names: list[str]) -> dict[str, tuple[float, float]]:
        """The difference of each value, absolute and relative."""
        unknown = [name for name in names if name not in self.known]
        if unknown:
            first = _values(self.file.proto, unknown, self.fed)
            second = _values(self.reference, unknown, self.given)
            for name in unknown:
                self.known[name] = self._difference(first[name], second[name])
        return {name: self.known[name] for name in names}

    def _difference(self, given: np.ndarray, expected: np.ndarray) -> tuple[float, float]:
        if self.precision != "float32" and expected.dtype.kind != "f":
            return 0.0, 0.0  # whole numbers change by leaps
        return difference_of(given, expected, self.precision)


def _values(model: Any, names: list[str], inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = session_of(computing(model, names))
    taken = {one.name for one in session.get_inputs()}
    values = session.run(names, {name: value for name, value in inputs.items() if name in taken})
    return dict(zip(names, values, strict=True))
