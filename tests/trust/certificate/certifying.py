"""Certificates of files of small models, and faults to plant in ONNX files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from detkit.exporting.runtimes import open_exported
from detkit.structures import Target
from detkit.trust.certificate import Certificate, Examination
from detkit.trust.certificate.parting import PartingFinder


def certified(path: Path, model, images, finder: PartingFinder | None = None) -> Certificate:
    """The certificate of a file by its answers to `images`, without AP."""
    examination = Examination(open_exported(path), model, {}, finder or PartingFinder(model))
    with torch.no_grad():
        expected = list(model.folded()(images))
    examination.add(images, [Target(image_id=index) for index in range(len(images))], expected)
    return examination.certificate({}, 0.5)


def finder_with(model, recorded) -> PartingFinder:
    """A finder that need not record the graph of a model again."""
    finder = PartingFinder(model)
    finder._recorded[False, None, False] = recorded
    return finder


def changes_of(certificate: Certificate) -> list[str]:
    """What a certificate says of the graph, sentence by sentence."""
    return [one.sentence for one in certificate.faults if one.subject == "graph"]


class Planted:
    """Copies of an ONNX file with one change.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        import onnx

        self.onnx, self.path, self.proto = onnx, path, onnx.load(path)

    def saved(self) -> Path:
        """The path of the changed copy."""
        changed = self.path.with_stem("changed")
        self.onnx.save(self.proto, changed)
        return changed

    def fact(self, key: str, change) -> Path:
        """A copy with another value of ``detkit.KEY``."""
        facts = {entry.key: entry.value for entry in self.proto.metadata_props}
        facts[f"detkit.{key}"] = json.dumps(change(json.loads(facts[f"detkit.{key}"])))
        self.onnx.helper.set_model_props(self.proto, facts)
        return self.saved()

    def of_images(self, count: int) -> Path:
        """A copy that takes so many images alone."""
        for value in self.proto.graph.input:
            value.type.tensor_type.shape.dim[0].dim_value = count
        return self.saved()

    def constant(self, name: str, change) -> Path:
        """A copy with another value of the weight or constant whose name ends so."""
        one = next(one for one in self.proto.graph.initializer if one.name.endswith(name))
        value = np.ascontiguousarray(change(self.onnx.numpy_helper.to_array(one).copy()))
        one.CopyFrom(self.onnx.numpy_helper.from_array(value, one.name))
        return self.saved()

    def input_of(self, operation: str, index: int, value) -> Path:
        """A copy in which the first such node reads another constant."""
        node = next(node for node in self.proto.graph.node if node.op_type == operation)
        self._add("planted", value)
        node.input[index] = "planted"
        return self.saved()

    def before_inputs(self, operation: str, value, **attributes) -> Path:
        """A copy in which the pixels pass through a node first."""
        self._add("planted", value)
        for node in self.proto.graph.node:
            if node.op_type != "Shape":
                node.input[:] = ["changed" if name == "images" else name for name in node.input]
        made = self.onnx.helper.make_node(operation, ["images", "planted"], ["changed"], "planted_node", **attributes)
        self.proto.graph.node.insert(0, made)
        return self.saved()

    def behind(self, output: str, operation: str, value, swapped: bool = False, **attributes) -> Path:
        """A copy in which an output passes through one more node."""
        self._add("planted", value)
        node = next(node for node in self.proto.graph.node if output in node.output)
        node.output[list(node.output).index(output)] = "before"
        names = ["planted", "before"] if swapped else ["before", "planted"]
        self.proto.graph.node.append(
            self.onnx.helper.make_node(operation, names, [output], "planted_node", **attributes)
        )
        return self.saved()

    def _add(self, name: str, value) -> None:
        self.proto.graph.initializer.append(self.onnx.numpy_helper.from_array(np.asarray(value), name))
