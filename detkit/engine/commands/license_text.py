"""Where the weights of a file come from, and under which licenses, in lines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import detkit
from detkit.engine.checkpoint_file import checkpoint_path, read_checkpoint
from detkit.engine.config.records.checkpoint_record import provenance_in
from detkit.errors import InputError, first_line
from detkit.structures import WeightsSource
from detkit.structures.weights_source import PROVENANCE_KEY


def license_text(file: str | Path) -> str:
    """What is known of the origin of the weights in a checkpoint, a run's folder or an ONNX file, in lines.

    Raises:
        InputError: the file cannot be read.
    """
    is_onnx = Path(file).suffix == ".onnx"
    path = Path(file) if is_onnx else checkpoint_path(file)
    record = _onnx_record(path) if is_onnx else read_checkpoint(path)["detkit"]
    sources = provenance_in(record, path)
    lines = [f"{path}: written by detkit {record.get('version', 'unknown')}", *_lines(sources)]
    return "\n".join([*lines, f"code: detkit {detkit.__version__}, Apache-2.0"])


def _lines(sources: Sequence[WeightsSource] | None) -> list[str]:
    if sources is None:
        return ["weights: unknown: the file does not say where they come from"]
    if not sources:
        return ["weights: trained from random numbers; the file names no other source"]
    return [f"weights: {one.name}\n  from: {one.source}\n  license: {one.license}" for one in sources]


def _onnx_record(path: Path) -> dict[str, Any]:
    """The metadata of an ONNX file, as a checkpoint would hold them."""
    try:
        import onnx
    except ImportError as error:
        raise InputError(f"reading {path} needs the package onnx: pip install onnx") from error
    if not path.is_file():
        raise InputError(f"{path} does not exist as a file")
    try:
        properties = {one.key: one.value for one in onnx.load(str(path), load_external_data=False).metadata_props}
        sources = json.loads(properties.get(PROVENANCE_KEY, "null"))
    except Exception as error:  # protobuf has errors of its own
        raise InputError(f"{path} cannot be read as an ONNX file: {first_line(error)}") from error
    return {"version": properties.get("detkit.version", "unknown"), "provenance": sources}
