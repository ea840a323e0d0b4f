"""Files of OpenVINO, as ``ovc mine.onnx`` writes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from torch import Tensor

from detkit.errors import InputError, first_line
from detkit.exporting.runtimes.exported_file import ExportedFile, Precision
from detkit.exporting.runtimes.fed_arrays import as_arrays


class OpenVinoFile(ExportedFile):
    """An OpenVINO model, ``.xml`` with its ``.bin`` beside it.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.runtime = f"OpenVINO {openvino.__version__.partition('-')[0]}"
        try:
            core = openvino.Core()
            self.model = core.read_model(str(path))
            # The plugin may choose bfloat16 or float16 where the processor has it.
            self._compiled = core.compile_model(self.model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        except Exception as error:  # OpenVINO raises RuntimeErrors of any kind
            raise InputError(f"OpenVINO cannot read {path}: {first_line(error)}") from error
        self.facts = _facts(self.model)
        self.inputs = [one.get_any_name() for one in self.model.inputs]
        self.outputs = [one.get_any_name() for one in self.model.outputs]
        self.shapes = {
            one.get_any_name(): [side.get_length() if side.is_static else None for side in one.get_partial_shape()]
            for one in self.model.inputs
        }
        self.precision = _precision(self.model)

    def run(self, inputs: Mapping[str, np.ndarray | Tensor]) -> dict[str, np.ndarray]:
        """See `ExportedFile.run`."""
        fed = as_arrays(inputs, self.inputs, self.path)
        try:
            outputs = self._compiled(fed)
        except Exception as error:
            raise InputError(f"OpenVINO cannot run {self.path}: {first_line(error)}") from error
        return {name: np.array(outputs[index]) for index, name in enumerate(self.outputs)}


def _facts(model: Any) -> dict[str, str]:
    """The metadata of the ONNX file that was converted, which OpenVINO keeps under ``framework``."""
    if not model.has_rt_info(["framework"]):
        return {}
    info = model.get_rt_info(["framework"]).value
    return {key: str(getattr(value, "value", value)) for key, value in info.items()}


def _precision(model: Any) -> Precision:
    """That of the weights; int8 where layers are quantized."""
    counts: dict[str, int] = {}
    for node in model.get_ops():
        if node.get_type_name() == "FakeQuantize":
            return "int8"
        if node.get_type_name() == "Constant":
            kind = node.get_element_type().get_type_name()
            counts[kind] = counts.get(kind, 0) + int(np.prod(node.get_output_shape(0)))
    return "float16" if counts.get("f16", 0) > counts.get("f32", 0) else "float32"
