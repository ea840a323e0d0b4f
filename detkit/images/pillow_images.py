"""Images of Pillow, of any mode, as the arrays that `read_image` gives for their files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
from PIL import Image

from detkit.errors import InputError
from detkit.images.orientation import orientation_in, turned

if TYPE_CHECKING:
    from collections.abc import Mapping


def is_pillow_image(image: Any) -> TypeGuard[Image.Image]:
    """Whether `image` is one of Pillow."""
    return isinstance(image, Image.Image)


def from_pillow(image: Image.Image, name: str) -> np.ndarray:
    """The pixels ``(H, W, 3)``, uint8 RGB: gray is repeated, alpha dropped, 16 bits scaled to 8, EXIF's orientation
    applied.

    Raises:
        InputError: `image`, which the message calls `name`, cannot be read, or has values of unknown range.
    """
    try:
        image.load()
        tags: Mapping[int, Any] = image.getexif()
        pixels = _wide(image, name) if image.mode[0] in "IF" else np.array(image.convert("RGB"))
    except InputError:
        raise
    except Exception as error:  # for broken files, Pillow raises errors without a common class
        raise InputError(f"{name}: Pillow cannot decode this image ({type(error).__name__}: {error})") from error
    if pixels.size == 0:
        raise InputError(f"{name} is an image without pixels, {image.width}x{image.height}")
    return turned(pixels, orientation_in(tags))


def _wide(image: Image.Image, name: str) -> np.ndarray:
    """Those of an image with more than 8 bits per pixel."""
    values = np.array(image)
    if image.mode == "F" or (values.size and not 0 <= values.min() <= values.max() < 2**16):
        raise InputError(
            f"{name} is a PIL image of mode {image.mode} whose values are not 16 bits per pixel; scale them to 0..255 "
            'and convert it with convert("RGB")'
        )
    return np.repeat((values >> 8).astype(np.uint8)[..., None], 3, axis=2)
