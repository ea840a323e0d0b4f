"""Images whose pixels are numbers or colors with a meaning, not to be converted: label maps and panoptic maps."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from detkit.errors import InputError
from detkit.files import read_bytes
from detkit.images.decompression_bombs import is_decompression_bomb

_EXACT = ("PNG", "BMP", "TIFF", "GIF", "PPM")
"""Pillow's names of the formats that keep values."""

_BITS, _COLOR_TYPE = 24, 25
"""Where a PNG file states the bits of a channel, and its color type; 0 is gray."""


def read_map(path: str | Path, of: str = "this map", palette: bool = False) -> np.ndarray:
    """The values of an image file as they are stored.

    An indexed image gives its indices, not its colors, and gray of 1, 2 or 4 bits its numbers. Alpha is dropped where
    it is opaque.

    Args:
        path: a PNG, also interlaced, or another format without loss.
        of: what the file is, for messages, such as ``the label map of image 7``.
        palette: whether an indexed image gives its colors instead.

    Returns:
        ``(H, W)`` uint8 or uint16, or ``(H, W, 3)`` uint8 of an RGB image.

    Raises:
        InputError: the file is missing or broken, its format changes values, such as JPEG, it has transparent pixels,
            or colors of 16 bits.
    """
    data = read_bytes(path, "an image file")
    if is_decompression_bomb(data, ()):
        raise InputError(f"{path}: {of} states a size that its file cannot hold; write it again")
    try:
        with Image.open(BytesIO(data)) as image:
            kind = image.format
            if kind in _EXACT:
                _check_channels(image, data, f"{path}: {of}")
                return _values(image.convert("RGB") if palette and image.mode == "P" else image, data)
    except InputError:
        raise
    except UnidentifiedImageError as error:
        what = "of no known format" if data else "empty"
        raise InputError(f"{path}: {of} cannot be read as an image: the file is {what}; write it as PNG") from error
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: {of} cannot be read as an image ({error}); write it again as PNG") from error
    raise InputError(f"{path}: {of} is a {kind} file, whose compression changes values; write it again as PNG")


def _check_channels(image: Image.Image, data: bytes, name: str) -> None:
    """Refuse what cannot be read as it is stored."""
    if image.format == "PNG" and data[_BITS] == 16 and data[_COLOR_TYPE] != 0:
        raise InputError(f"{name} has colors of 16 bits a channel; write it with 8 bits, or in gray")
    if image.mode in ("RGBA", "LA"):
        transparent = int((np.array(image)[..., -1] < 255).sum())
        if transparent:
            raise InputError(
                f"{name} has {transparent} transparent pixels, whose meaning is unknown; write it without alpha, with "
                "a value or color of its own where there is no class"
            )


def _values(image: Image.Image, data: bytes) -> np.ndarray:
    if image.mode in ("RGB", "RGBA", "CMYK", "YCbCr"):
        return np.array(image.convert("RGB"))
    if image.mode == "LA":
        return np.array(image)[..., 0].copy()
    if image.mode[0] in "IF":
        return _wide(np.array(image))
    values = np.array(image).astype(np.uint8)  # of the modes 1, L and P
    if image.format == "PNG" and data[_COLOR_TYPE] == 0 and data[_BITS] < 8 and image.mode != "1":
        values //= 255 // (2 ** data[_BITS] - 1)  # Pillow has spread them over 0..255
    return values


def _wide(values: np.ndarray) -> np.ndarray:
    """Values of more than 8 bits."""
    if values.size and not (values.min() >= 0 and values.max() < 2**16 and (values == np.floor(values)).all()):
        raise ValueError("its values are not whole numbers of 8 or 16 bits")
    return values.astype(np.uint16)
