"""Reading image files, always as uint8 RGB ``(H, W, 3)``."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from detkit.errors import InputError
from detkit.files import read_bytes
from detkit.images.decompression_bombs import is_decompression_bomb
from detkit.images.jpeg_segments import JPEG, jpeg_segments
from detkit.images.orientation import (
    Size,
    annotated_orientation,
    orientation_in,
    read_tags,
    turned,
    turned_back,
    turned_size,
)
from detkit.ops.images.planes import to_planes

_TIFF = (b"II*\0", b"MM\0*")
_EXTRA_SAMPLES, _STRAIGHT_ALPHA = 338, 2
_FORMATS = ("JPEG", "PNG", "BMP", "DIB", "WEBP", "TIFF", "GIF", "JPEG2000", "AVIF", "PPM")
"""Pillow's names of the formats with a suffix in `IMAGE_SUFFIXES`; its other readers are many, and see no such file."""


class Header(NamedTuple):
    """The facts about an image file that decide in which frame its annotations are.

    Args:
        stored: the height and width of the stored pixels.
        orientation: 1 to 8, as in EXIF; 1 where the pixels are stored as they are to be seen.
    """

    stored: Size
    orientation: int


def read_image(path: str | Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """Decode an image file.

    Grayscale is repeated over the channels, alpha is dropped, 16 bits are scaled to 8, of an animation the first frame
    is taken.

    The EXIF orientation is applied, as viewers do. Only if the image then has not the height and width that its
    annotations state, but its stored pixels do, they stay as they are stored.

    Args:
        path: a file in a format that OpenCV reads, or AVIF.
        size: the expected ``(height, width)`` in pixels; None: any.

    Returns:
        ``(H, W, 3)`` uint8 RGB.

    Raises:
        InputError: the file is missing, empty, truncated, not an image, or has another size than `size`.
    """
    return decode_image(read_bytes(path, "an image file"), path, size)


def decode_image(data: bytes, name: str | Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """Decode the content of an image file as `read_image` does; messages call it `name`.

    Returns:
        ``(H, W, 3)`` uint8 RGB.

    Raises:
        InputError: it is empty, truncated or not an image, or has another size than `size`.
    """
    stored, orientation = _decode(_checked(data, name), name)
    height, width = stored.shape[:2]
    applied = annotated_orientation((height, width), orientation, None if size is None else (size[0], size[1]))
    if size is not None and applied is None:
        height, width = turned_size((height, width), orientation)
        raise InputError(
            f"{name}: the image is {width}x{height} pixels (width x height), but its annotation file says "
            f"{size[1]}x{size[0]}, so the boxes would be wrong; correct the file or the annotation"
        )
    return turned(stored, applied or orientation)


def to_tensor(image: np.ndarray, flips: tuple[bool, bool] = (False, False)) -> Tensor:
    """``(H, W, 3)`` uint8 to ``(3, H, W)`` uint8, flipped horizontally, and vertically, as `flips` says."""
    # A view that is read backwards, or that may not be written to, is no tensor.
    return to_planes(torch.from_numpy(image if image.flags.carray else image.copy()), flips)


def image_size(path: str | Path) -> tuple[int, int]:
    """The ``(height, width)`` that `read_image` returns for a file, from its header alone.

    Raises:
        InputError: the file is missing or not an image.
    """
    return turned_size(*read_header(path))


def read_header(path: str | Path) -> Header:
    """The stored size and the orientation of an image file; it is decoded only where Pillow does not know its format.

    Raises:
        InputError: the file is missing or not an image.
    """
    try:
        with open(path, "rb") as file:
            return _header_in(file)
    except Exception:  # for headers of broken files, Pillow raises errors without a common class
        pixels, orientation = _decode(_checked(read_bytes(path, "an image file"), path), path)
        return Header((pixels.shape[0], pixels.shape[1]), orientation)


def encoded_size(data: bytes, name: str | Path) -> Size:
    """The ``(height, width)`` that `decode_image` returns for the content of a file, from its header alone.

    Unlike `image_size` it never decodes, so it takes no memory, whatever the header states.

    Raises:
        InputError: Pillow does not know the format, or the header is broken.
    """
    try:
        return turned_size(*_header_in(BytesIO(data), _FORMATS))
    except Image.DecompressionBombError as error:
        raise InputError(f"{name}: this image has too many pixels to be decoded; cut it into tiles") from error
    except Exception as error:  # as for headers
        raise InputError(f"{name}: this file is not an image, or its header is broken") from error


def _header_in(file: BinaryIO, formats: tuple[str, ...] | None = None) -> Header:
    """Raises errors of any type where Pillow does not know the format, or all but `formats` are left out."""
    with Image.open(file, formats=formats) as image:
        if image.format == "AVIF":
            return Header((image.height, image.width), _orientation_of_avif(image))
        tags = read_tags(file)
        if image.format == "TIFF":  # some versions of Pillow give its size turned
            return Header((tags[257], tags[256]), orientation_in(tags))
        return Header((image.height, image.width), orientation_in(tags))


def _checked(data: bytes, path: str | Path) -> bytes:
    if not data:
        raise InputError(f"{path}: this image file is empty (0 bytes)")
    if _is_cut_short(data):
        raise InputError(f"{path}: this image file is cut short; copy or download it again")
    return data


def _is_cut_short(data: bytes) -> bool:
    """Whether a JPEG or PNG is truncated: some decoders fill the missing part with gray without an error."""
    if data.startswith(JPEG):
        # The end-of-image marker must follow the last start of scan: an embedded thumbnail has its own pair.
        # At the very end, where it usually is, it does.
        return not data.endswith(b"\xff\xd9") and data.rfind(b"\xff\xd9") < max(data.rfind(b"\xff\xda"), 0)
    if data.startswith(b"\x89PNG"):
        return b"IEND" not in data[-4096:] and b"IEND" not in data
    return False


def _decode(data: bytes, path: str | Path) -> tuple[np.ndarray, int]:
    """The stored pixels and the orientation."""
    if data[4:8] == b"ftyp":  # AVIF, which OpenCV does not turn
        return _decode_with_pillow(data, path)
    file = BytesIO(data)
    segments = list(jpeg_segments(file)) if data.startswith(JPEG) else []
    if is_decompression_bomb(data, segments):
        raise InputError(f"{path}: this image is broken, its {len(data)} bytes cannot hold the pixels of its header")
    tags = read_tags(file, segments)
    orientation = orientation_in(tags)
    if data[:4] not in _TIFF:
        return _decode_with_opencv(data, path), orientation
    # OpenCV darkens the pixels of a TIFF by its alpha. Both decoders turn a TIFF.
    has_alpha = tags.get(_EXTRA_SAMPLES) == _STRAIGHT_ALPHA
    pixels = _decode_with_pillow(data, path)[0] if has_alpha else _decode_with_opencv(data, path)
    return turned_back(pixels, orientation), orientation


def _decode_with_opencv(data: bytes, path: str | Path) -> np.ndarray:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        if "CV_IO_MAX_IMAGE" in error.err:
            raise InputError(f"{path}: this image has too many pixels to be decoded; cut it into tiles") from error
        raise InputError(f"{path}: OpenCV cannot decode this image ({error.err})") from error
    if image is None:
        raise InputError(f"{path}: this file is not an image that OpenCV can decode")
    return image


def _decode_with_pillow(data: bytes, path: str | Path) -> tuple[np.ndarray, int]:
    try:
        with Image.open(BytesIO(data)) as image:
            return np.array(image.convert("RGB")), _orientation_of_avif(image)
    except Exception as error:  # as for headers
        raise InputError(
            f"{path}: Pillow cannot decode this image ({type(error).__name__}: {str(error).partition(' <')[0]}); "
            "save it as JPEG or PNG (AVIF needs Pillow 11.3 or newer)"
        ) from error


def _orientation_of_avif(image: Image.Image) -> int:
    """Pillow translates the transformations of an AVIF, which hold whatever its EXIF block states, into EXIF."""
    return orientation_in(read_tags(BytesIO(image.info.get("exif", b"").removeprefix(b"Exif\0\0"))))
