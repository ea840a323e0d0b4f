"""Writing an image whose pixels lie as they are to be seen, without an orientation that a program could overlook."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import cv2
from PIL import Image

from detkit.images.reading import read_image

_ENCODINGS = {
    "JPEG": (
        ".jpg",
        cv2.IMWRITE_JPEG_QUALITY,
        100,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ),
    "PNG": (".png",),
    "WEBP": (".webp", cv2.IMWRITE_WEBP_QUALITY, 101),  # above 100: without loss
    "TIFF": (".tif",),
}
"""How OpenCV encodes the formats that state an orientation, with the least loss."""


def write_upright(source: Path, target: Path, size: tuple[int, int]) -> None:
    """Write the pixels of `source` that `read_image` gives for `size` to `target`, in the same format, best quality.

    Args:
        source: an image file with an orientation.
        target: the file to write, without one.
        size: the height and width that its annotations state.

    Raises:
        InputError: `source` cannot be read.
        OSError: `target` cannot be written.
    """
    pixels = read_image(source, size)
    with Image.open(source) as image:
        kind = "JPEG" if image.format == "MPO" else image.format
    if kind in _ENCODINGS:
        suffix, *options = _ENCODINGS[kind]
        target.write_bytes(cv2.imencode(suffix, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), options)[1].tobytes())
    else:
        content = BytesIO()
        Image.fromarray(pixels).save(content, kind, quality=100, subsampling="4:4:4")
        target.write_bytes(content.getvalue())
