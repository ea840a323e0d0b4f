"""`export`: a model as a file for other runtimes, with what it takes and where it is from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from detkit.engine.checkpoint import load
from detkit.engine.verbs.process_state import unchanged_process
from detkit.exporting.export_file import Format, export_file
from detkit.models import VisionModel
from detkit.models.predicting.evaluation_mode import evaluation_mode


def export(
    model: VisionModel | str | Path,
    path: str | Path,
    size: tuple[int, int] | None = None,
    metadata: Mapping[str, str] | None = None,
    *,
    to: Format | None = None,
    raw: bool = False,
    int8: str | Path | None = None,
    float16: bool = False,
) -> Path:
    """Write a model as a file for ONNX Runtime or torch: pixels in, answers out, for any number of images.

    The file holds normalization, network, decoding and suppression. Its metadata says how images are resized, what the
    outputs mean, the classes, and the licenses of the weights; docs/export.md describes both. Batch norm is folded into
    the convolutions. The file is written only if its outputs are those of the model; for ONNX, where ONNX Runtime is
    installed.

    Args:
        model: a model, a checkpoint or a run's folder.
        path: the file to write, ``m.onnx``; replaced in one step.
        size: height and width of its input in pixels; None: that of `model.preprocess`, or any where it pads.
        metadata: further entries of the file, beside detkit's.
        to: ``onnx``, ``torch_export`` or ``torchscript``; None: by the suffix of `path`: .onnx, .pt2 or .ts.
        raw: leave out normalization, decoding and suppression: ``model.preprocess(images).images`` is the input, and
            ``model.decode(outputs, batch)`` gives the detections.
        int8: a folder of images on which ONNX Runtime calibrates the layers for INT8; None leaves them in float32.
        float16: layers in float16, half the size; decoding, inputs and outputs stay in float32.

    Returns:
        The file.

    Raises:
        InputError: a package is missing, the model cannot be exported as one graph, its outputs differ, or the file
            cannot be written.
    """
    network = model if isinstance(model, VisionModel) else load(model)
    with unchanged_process(), evaluation_mode(network):
        export_file(network, Path(path), to, raw, size, metadata, int8, float16)
    return Path(path)
