"""ONNX files in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from torch import Tensor

from detkit.errors import InputError, first_line
from detkit.exporting.runtimes.exported_file import ExportedFile, Precision
from detkit.exporting.runtimes.fed_arrays import as_arrays
from detkit.exporting.score_thresholds import is_score_threshold

QUANTIZING = frozenset({"QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger"})


class OnnxFile(ExportedFile):
    """An ONNX file.

    Args:
        path: of the file.
        content: the file itself, where it is not written yet.
    """

    def __init__(self, path: Path, content: bytes | None = None) -> None:
        self.path = path
        self.runtime = f"ONNX Runtime {_version()}"
        try:
            self.proto = onnx.load_model_from_string(content) if content else onnx.load(str(path))
            self.session = session_of(content or str(path))
        except Exception as error:  # both raise errors of any type
            raise InputError(f"ONNX Runtime cannot read {path}: {first_line(error)}") from error
        self.facts = dict(self.session.get_modelmeta().custom_metadata_map)
        taken = self.session.get_inputs()
        self.inputs = [one.name for one in taken]
        self.outputs = [one.name for one in self.session.get_outputs()]
        self.shapes = {
            one.name: [side if isinstance(side, int) else None for side in one.shape]
            for one in self.session.get_inputs()
        }
        self.precision = _precision(self.proto)
        self._takes_half = [one.name for one in taken if one.type == "tensor(float16)"]

    def run(self, inputs: Mapping[str, np.ndarray | Tensor]) -> dict[str, np.ndarray]:
        """See `ExportedFile.run`."""
        try:
            values = self.session.run(self.outputs, self.fed(inputs))
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"ONNX Runtime cannot run {self.path}: {first_line(error)}") from error
        return dict(zip(self.outputs, values, strict=True))

    def move_score_thresholds_(self, threshold: float) -> None:
        """See `ExportedFile.move_score_thresholds_`."""
        for tensor in self.proto.graph.initializer:
            if is_score_threshold(tensor.name):
                moved = np.full_like(onnx.numpy_helper.to_array(tensor), threshold)
                tensor.CopyFrom(onnx.numpy_helper.from_array(moved, tensor.name))
        self.session = session_of(self.proto.SerializeToString())

    def fed(self, inputs: Mapping[str, np.ndarray | Tensor]) -> dict[str, np.ndarray]:
        """The inputs as a session of this file takes them."""
        given = as_arrays(inputs, self.inputs, self.path)
        return {name: value.astype(np.float16) if name in self._takes_half else value for name, value in given.items()}


def session_of(model: bytes | str) -> Any:
    """A session on the CPU that computes node by node as the file says, but for what changes no number.

    Args:
        model: the content of a file, or its path.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # warnings tell of constants that could be folded
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _version() -> str:
    return str(onnxruntime.__version__)


def _precision(proto: Any) -> Precision:
    """That of the weights; int8 where layers are quantized."""
    if any(node.op_type in QUANTIZING for node in proto.graph.node):
        return "int8"
    counts = {onnx.TensorProto.FLOAT: 0, onnx.TensorProto.FLOAT16: 0}
    for tensor in _constants(proto.graph):
        if tensor.data_type in counts:
            counts[tensor.data_type] += int(np.prod(tensor.dims))
    return "float16" if counts[onnx.TensorProto.FLOAT16] > counts[onnx.TensorProto.FLOAT] else "float32"


def _constants(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for node in graph.node:
        yield from (
            attribute.t for attribute in node.attribute if node.op_type == "Constant" and attribute.HasField("t")
        )
