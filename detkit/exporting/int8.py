"""INT8 quantization of an ONNX file by ONNX Runtime, calibrated on images (post-training, static)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from detkit.errors import InputError, first_line
from detkit.exporting.recording import Recorded
from detkit.files import write_whole
from detkit.images import find_inputs, is_video, read_image, to_tensor

MOST_IMAGES = 100
"""Images that calibration reads: of each layer it needs no more than the range of its values."""

LAYERS = ("Conv", "Gemm", "MatMul")
"""What is quantized: the layers with weights. Decoding and suppression stay in float32."""

logger = logging.getLogger(__name__)


def quantized(content: bytes, recorded: Recorded, folder: str | Path) -> bytes:
    """The ONNX file `content` with its layers in INT8: weights of each channel, and the outputs of layers.

    Args:
        content: the file in float32.
        recorded: what it was made of, whose preprocessing the images pass.
        folder: images like those that the model will see; the first hundred by name are read.

    Raises:
        InputError: ONNX Runtime is not installed, the folder has no images, or quantization fails.
    """
    if find_spec("onnxruntime") is None:
        raise InputError("INT8 needs onnxruntime, not installed here: pip install detkit[onnx]")
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    files = [file for file in find_inputs(folder) if not is_video(file.name)][:MOST_IMAGES]
    if not files:
        raise InputError(f"{folder} has no images for the calibration of INT8: name a folder of images.")
    logger.info("calibrating INT8 on %d images of %s", len(files), folder)
    with TemporaryDirectory() as work:
        source, target = Path(work, "float32.onnx"), Path(work, "int8.onnx")
        write_whole(source, content)
        try:
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
            self.inputs = _inputs(recorded, files)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.inputs, None)

    return Images()


@torch.no_grad()
def _inputs(recorded: Recorded, files: list[Path]) -> Iterator[dict[str, np.ndarray]]:
    preprocess = recorded.model.preprocess
    for file in files:
        batch = preprocess([to_tensor(read_image(file))])
        images = batch.images if recorded.raw else batch.images * preprocess.std + preprocess.mean
        inputs = {"images": images.cpu().numpy(), "sizes": np.array(batch.sizes)}
        yield {name: inputs[name] for name in recorded.inputs}
