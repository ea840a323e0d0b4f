"""An operation of detkit run by ONNX Runtime."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from detkit.exporting.onnx_ops import translations

for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package, reason=f"ONNX needs {package}: pip install detkit[onnx]")


class Function(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *arguments: Any) -> Any:
        return self.function(*arguments)


def in_onnxruntime(
    function: Callable[..., Any], arguments: Sequence[Any], folder: Path, axes: Sequence[int] = (0,)
) -> Callable[..., list[np.ndarray]]:
    """`function` exported for `arguments`, of which all tensors may have other lengths along `axes`."""
    import onnxruntime

    module, path = Function(function), folder / "function.onnx"
    dynamic = torch.utils._pytree.tree_map(
        lambda tensor: {axis: torch.export.Dim.DYNAMIC for axis in axes if axis < tensor.ndim}, tuple(arguments)
    )
    graph = torch.export.export(module, tuple(arguments), dynamic_shapes=(dynamic,))
    torch.onnx.export(graph, custom_translation_table=translations(), verbose=False).save(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]

    def run(*arguments: Any) -> list[np.ndarray]:
        tensors: list[Tensor] = tree_leaves(arguments)
        return session.run(None, {name: tensor.numpy() for name, tensor in zip(names, tensors, strict=True)})

    return run
