"""INT8 quantization of an ONNX file by ONNX Runtime, calibrated on images (post-training, static)."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from detkit.errors import InputError, first_line
from detkit.exporting.precisions.calibration import calibration_files, calibration_inputs
from detkit.exporting.quiet import quiet_translation
from detkit.exporting.recording import Recorded
from detkit.files import write_whole

LAYERS = ("Conv", "Gemm", "MatMul")
"""What is quantized: the layers with weights. Decoding and suppression stay in float32."""

logger = logging.getLogger(__name__)


def quantized(content: bytes, recorded: Recorded, folder: str | Path) -> bytes:
    """The ONNX file `content` with its layers in INT8: weights of each channel, and the outputs of layers.

    Args:
        content: the file in float32.
        recorded: what it was made of, whose preprocessing the images pass.
        folder: images like those that the model will see; a hundred are read, spread evenly over their names.

    Raises:
        InputError: ONNX Runtime is not installed, the folder has no images, or quantization fails.
    """
    if find_spec("onnxruntime") is None:
        raise InputError("INT8 needs onnxruntime, not installed here: pip install detkit[onnx]")
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    files = calibration_files(folder)
    logger.info("calibrating INT8 on %d images of %s", len(files), folder)
    with TemporaryDirectory() as work:
        source, target = Path(work, "float32.onnx"), Path(work, "int8.onnx")
        write_whole(source, content)
        try:
            with quiet_translation():
                quantize_static(
                    source, target, _reader(recorded, files), quant_format=QuantFormat.QDQ, per_channel=True,
                    op_types_to_quantize=list(LAYERS), activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                )  # fmt: skip
        except Exception as error:  # ONNX Runtime raises errors of any type
            raise InputError(
                f"ONNX Runtime cannot quantize the {type(recorded.model).__name__}: {first_line(error)}"
            ) from error
        proto = onnx.load(str(target))
    kept = {entry.key: entry.value for entry in onnx.load_model_from_string(content).metadata_props}
    onnx.helper.set_model_props(proto, kept | {"detkit.precision": "int8"})
    result: bytes = proto.SerializeToString()
    return result


def _reader(recorded: Recorded, files: list[Path]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Images(CalibrationDataReader):
        """The inputs of the graph for one image after the other."""

        def __init__(self) -> None:
            self.inputs = calibration_inputs(recorded, files)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.inputs, None)

    return Images()
