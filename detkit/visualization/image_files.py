"""Convert images to arrays, resize them and write them to files."""

from __future__ import annotations

from pathlib import Path

import cv2
import matplotlib
import numpy as np
from PIL import ImageFont
from torch import Tensor

from detkit.errors import InputError
from detkit.files import write_whole

_COLORLESS = {".pgm", ".pbm"}


def to_image_array(image: np.ndarray | Tensor) -> np.ndarray:
    """Copy an image to a uint8 array ``(H, W, 3)``.

    Args:
        image: such an array, or a tensor ``(3, H, W)``, uint8 or float in [0, 1].

    Raises:
        InputError: it is neither.
    """
    if isinstance(image, Tensor) and image.ndim == 3 and image.shape[0] == 3:
        values = image.detach().cpu().permute(1, 2, 0)
        image = (
            (values.float().clamp(0, 1) * 255).round().byte().numpy() if values.is_floating_point() else values.numpy()
        )
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        got = f"{image.dtype} {tuple(image.shape)}" if hasattr(image, "shape") else type(image).__name__
        raise InputError(f"an image is a uint8 array (H, W, 3) or a tensor (3, H, W), got {got}; convert it to RGB")
    return np.array(image, order="C")


def write_image(path: str | Path, image: np.ndarray) -> None:
    """Write a uint8 RGB image ``(H, W, 3)``; the suffix chooses the format. The file appears whole or not at all.

    Raises:
        InputError: OpenCV cannot write this format.
    """
    path = Path(path)
    check_suffix(path)
    write_whole(path, encoded_image(image, path.suffix))


def encoded_image(image: np.ndarray, suffix: str) -> bytes:
    """The content of an image file of a format such as ``".png"`` with a uint8 RGB image ``(H, W, 3)``."""
    _, encoded = cv2.imencode(suffix, cv2.cvtColor(to_image_array(image), cv2.COLOR_RGB2BGR))
    return encoded.tobytes()


def check_suffix(path: str | Path) -> None:
    """Refuse the name of an image file that `write_image` cannot write.

    Raises:
        InputError: OpenCV cannot write this format.
    """
    suffix = Path(path).suffix
    if not cv2.haveImageWriter(f"image{suffix}") or suffix.lower() in _COLORLESS:
        raise InputError(f"{path}: no image can be written as {suffix!r}; name it .png or .jpg")


def resize(image: np.ndarray, scale: float) -> np.ndarray:
    """The image with sides `scale` times as long."""
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


def font_of_size(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which is part of matplotlib."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", name)), size)
