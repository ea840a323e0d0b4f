"""`export_file`: a model as a file for another runtime, checked before it is written."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

from detkit.errors import InputError
from detkit.exporting.metadata import facts_of
from detkit.exporting.onnx_program import check_installed, onnx_program
from detkit.exporting.output_check import EXACT, OF_HALF, check_file, check_runs
from detkit.exporting.precisions.int8 import quantized
from detkit.exporting.recording import Recorded, record
from detkit.exporting.torch_programs import torch_export_program, torchscript_program
from detkit.files import write_whole
from detkit.geometry import Size
from detkit.models import VisionModel

Format = Literal["onnx", "torch_export", "torchscript"]

SUFFIXES: dict[Format, str] = {"onnx": ".onnx", "torch_export": ".pt2", "torchscript": ".ts"}


_WRITERS = {"onnx": onnx_program, "torch_export": torch_export_program, "torchscript": torchscript_program}

logger = logging.getLogger(__name__)


def export_file(
    model: VisionModel,
    path: Path,
    to: Format | None = None,
    raw: bool = False,
    size: Size | None = None,
    metadata: Mapping[str, str] | None = None,
    int8: str | Path | None = None,
    float16: bool = False,
) -> Recorded:
    """Write a model, in evaluation mode, as a file, in one step, and only if all its outputs are the model's.

    Args:
        model: the model.
        path: the file.
        to: its format; None: by the suffix of `path`.
        raw: leave out normalization, decoding and suppression.
        size: height and width of the input; None: that of the preprocessing, or any.
        metadata: further entries.
        int8: a folder of images on which an ONNX file is calibrated for INT8; None: float32. The outputs are checked
            before.
        float16: layers in float16; decoding, suppression, inputs and outputs stay in float32.

    Raises:
        InputError: both precisions are asked for, the format is unknown, a package is missing, the model cannot be
            exported, its outputs differ, or the file cannot be written.
    """
    to = format_of(path) if to is None else to
    if to not in get_args(Format):
        raise InputError(f"There is no format {to!r}: choose onnx, torch_export or torchscript.")
    if path.suffix in SUFFIXES.values() and path.suffix != SUFFIXES[to]:
        raise InputError(f"{path}: the suffix is that of {format_of(path)}, but the format is {to}: change one.")
    if to == "onnx":
        check_installed()
    elif int8 is not None:
        raise InputError(f"INT8 is for ONNX files: leave it out, or export {path.with_suffix('.onnx')}.")
    if int8 is not None and float16:
        raise InputError("A file is in float16 or in INT8: leave one out.")
    recorded = record(model, raw, size, float16)
    if model.left_out_of_graphs:
        logger.warning(
            "%s answers for its whole input at once: it leaves out %s, which is up to the program that runs it",
            path,
            model.left_out_of_graphs,
        )
    facts = facts_of(recorded) | dict(metadata or {})
    content = _WRITERS[to](recorded, facts)
    if to == "onnx" and find_spec("onnxruntime") is None:
        logger.warning(
            "%s is not compared with the model: onnxruntime is not installed (pip install detkit[onnx])", path
        )
    else:
        check_file(content, SUFFIXES[to], recorded, EXACT if recorded.is_exact else OF_HALF)
    if int8 is not None:
        content = quantized(content, recorded, int8)
        check_runs(content, SUFFIXES[to], recorded)
    write_whole(path, content)
    return recorded


def format_of(path: Path) -> Format:
    """The format of a file by its suffix.

    Raises:
        InputError: the suffix is not known.
    """
    for name, suffix in SUFFIXES.items():
        if path.suffix == suffix:
            return name
    known = ", ".join(f"{suffix} ({name})" for name, suffix in SUFFIXES.items())
    raise InputError(f"{path}: the suffix tells no format: use one of {known}, or say `to`.")
