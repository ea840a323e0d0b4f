"""A recorded graph as the bytes of an ONNX file."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import torch

from detkit.errors import InputError, first_line
from detkit.exporting.onnx_ops import translations
from detkit.exporting.quiet import quiet_translation
from detkit.exporting.recording import Recorded
from detkit.exporting.score_thresholds import ScoreThresholds, score_threshold_name

OPSET = 18
"""The version of ONNX's operators that files use."""

NEEDED = ("onnx", "onnxscript")

_MARK = 9876.543
"""What stands for a score threshold during the translation, which makes one tensor of all constants that are equal."""


def onnx_program(recorded: Recorded, facts: Mapping[str, str]) -> bytes:
    """The ONNX file of a graph, with `facts` as its metadata.

    Raises:
        InputError: onnx is not installed, or an operation has no translation.
    """
    check_installed()
    import onnx

    thresholds = recorded.score_thresholds
    try:
        with quiet_translation(), thresholds.moved([_MARK + index for index in range(len(thresholds))]):
            program = torch.onnx.export(
                recorded.program, input_names=list(recorded.inputs), output_names=recorded.outputs, opset_version=OPSET,
                custom_translation_table=translations(), verbose=False, external_data=False,
            )  # fmt: skip
            assert program is not None  # it is only where torch writes the file itself
            proto = program.model_proto
    except InputError:
        raise
    except Exception as error:  # the translators of operations raise errors of any type
        raise InputError(
            f"The {type(recorded.model).__name__} cannot be exported to ONNX ({first_line(error)}): export it to "
            "torch_export."
        ) from error
    _set(proto.graph, thresholds)
    for key, text in {**facts, "detkit.opset": str(OPSET)}.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, text
    _name_sizes(proto.graph)
    onnx.checker.check_model(proto)
    content: bytes = proto.SerializeToString()
    return content


def check_installed() -> None:
    """Raise InputError unless the packages that write ONNX files are installed."""
    missing = [package for package in NEEDED if find_spec(package) is None]
    if missing:
        raise InputError(f"An ONNX file needs {' and '.join(missing)}, not installed here: pip install detkit[onnx]")


def _set(graph: Any, thresholds: ScoreThresholds) -> None:
    """Give the score thresholds in a graph their values."""
    import onnx

    values = {score_threshold_name(index): value.cpu().numpy() for index, value in enumerate(thresholds.buffers())}
    for tensor in graph.initializer:
        if tensor.name in values:
            tensor.CopyFrom(onnx.numpy_helper.from_array(values[tensor.name], tensor.name))


def _name_sizes(graph: Any) -> None:
    """Call the number of images ``batch``, and sides of any length ``height`` and ``width``; torch numbers them."""
    dims = graph.input[0].type.tensor_type.shape.dim
    names = {dims[axis].dim_param: name for axis, name in ((0, "batch"), (2, "height"), (3, "width"))}
    for value in [*graph.input, *graph.output, *graph.value_info]:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in names and dim.dim_param:
                dim.dim_param = names[dim.dim_param]
