"""`open_exported`: a file opened by the runtime of its format."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from pathlib import Path

from detkit.errors import InputError
from detkit.exporting.runtimes.exported_file import ExportedFile

_RUNTIMES = {
    ".onnx": ("onnx_file", "OnnxFile", ("onnx", "onnxruntime"), "detkit[onnx]"),
    ".pt2": ("torch_graphs", "TorchExportFile", (), ""),
    ".ts": ("torch_graphs", "TorchScriptFile", (), ""),
    ".xml": ("openvino_file", "OpenVinoFile", ("openvino",), "detkit[openvino]"),
}
"""For each suffix the module and the class that open it, the packages that this needs, and their extra."""


def open_exported(path: str | Path) -> ExportedFile:
    """Open an exported file: .onnx by ONNX Runtime, .pt2 and .ts by torch, .xml by OpenVINO, on the CPU.

    Raises:
        InputError: the suffix is of none of them, a package is missing, or the runtime cannot read the file.
    """
    path = Path(path)
    if path.suffix not in _RUNTIMES:
        raise InputError(f"{path} is no exported file: give one that ends in {', '.join(_RUNTIMES)}.")
    if not path.is_file():
        raise InputError(f"{path}: there is no such file.")
    module, name, packages, extra = _RUNTIMES[path.suffix]
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise InputError(f"{path} needs {' and '.join(missing)}, not installed here: pip install {extra}")
    opened: ExportedFile = getattr(importlib.import_module(f"detkit.exporting.runtimes.{module}"), name)(path)
    return opened
