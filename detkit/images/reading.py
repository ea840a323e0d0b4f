"""Reading image files, always as uint8 RGB ``(H, W, 3)``."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from detkit.errors import InputError

_EXIF_ORIENTATION = 0x0112
_QUARTER_TURNS = frozenset({5, 6, 7, 8})  # the EXIF orientations that swap height and width


def read_image(path: str | Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """Decode an image file.

    Grayscale is repeated over the channels, alpha is dropped, 16 bits are scaled to 8.

    EXIF orientation: without `size` it is applied, as viewers do. With `size`, the height and width in an annotation
    file, the orientation in which the image has that size is used, the stored one if both fit.

    Args:
        path: a file in a format that OpenCV reads.
        size: the expected ``(height, width)`` in pixels.

    Returns:
        ``(H, W, 3)`` uint8 RGB.

    Raises:
        InputError: the file is missing, empty, truncated, not an image, or has another size than `size`.
    """
    data = _read_bytes(path)
    if size is None:
        return _decode(data, path, cv2.IMREAD_COLOR_RGB)
    stored = _decode(data, path, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    if stored.shape[:2] == tuple(size):
        return stored
    if stored.shape[1::-1] == tuple(size):
        turned = _decode(data, path, cv2.IMREAD_COLOR_RGB)
        if turned.shape[:2] == tuple(size):
            return turned
    raise InputError(
        f"{path}: the image is {stored.shape[1]}x{stored.shape[0]} pixels (width x height), but its annotation file "
        f"says {size[1]}x{size[0]}, so the boxes would be wrong; correct the file or the annotation"
    )


def to_tensor(image: np.ndarray) -> Tensor:
    """``(H, W, 3)`` uint8 to ``(3, H, W)`` uint8."""
    return torch.from_numpy(np.stack(cv2.split(image)))


def image_size(path: str | Path) -> tuple[int, int]:
    """The ``(height, width)`` that `read_image` returns for a file, from its header alone.

    Raises:
        InputError: the file is missing or not an image.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(_EXIF_ORIENTATION) in _QUARTER_TURNS
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: cannot read the size of this image ({error})") from error
    return (width, height) if turned else (height, width)


def _read_bytes(path: str | Path) -> bytes:
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot read this image file ({error.strerror})") from error
    if not data:
        raise InputError(f"{path}: this image file is empty (0 bytes)")
    if _is_cut_short(data):
        raise InputError(f"{path}: this image file is cut short; copy or download it again")
    return data


def _is_cut_short(data: bytes) -> bool:
    """Whether a JPEG or PNG is truncated: some decoders fill the missing part with gray without an error."""
    if data.startswith(b"\xff\xd8"):
        # The end-of-image marker must follow the last start of scan: an embedded thumbnail has its own pair.
        return data.rfind(b"\xff\xd9") < max(data.rfind(b"\xff\xda"), 0)
    if data.startswith(b"\x89PNG"):
        return b"IEND" not in data[-4096:] and b"IEND" not in data
    return False


def _decode(data: bytes, path: str | Path, flags: int) -> np.ndarray:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise InputError(f"{path}: OpenCV cannot decode this image ({error.err})") from error
    if image is None:
        raise InputError(f"{path}: this file is not an image that OpenCV can decode")
    return image
