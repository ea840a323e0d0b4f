"""The images that `predict` takes: files, folders, addresses, arrays, tensors and images of Pillow."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import TypeGuard

import numpy as np
from PIL import Image
from torch import Tensor

from detkit.errors import InputError
from detkit.images import (
    decode_image,
    download,
    find_inputs,
    from_pillow,
    is_pillow_image,
    is_stream,
    is_url,
    is_video,
    read_image,
    to_tensor,
)
from detkit.models.check_inputs import check_image
from detkit.structures import ImageSource

ImageInput = str | Path | np.ndarray | Tensor | Image.Image


def is_sequence(inputs: ImageInput | Sequence[ImageInput]) -> TypeGuard[Sequence[ImageInput]]:
    """Whether `inputs` are several images, possibly as one array or tensor ``(B, …)``."""
    return getattr(inputs, "ndim", 0) == 4 or (isinstance(inputs, Sequence) and not isinstance(inputs, str))


def is_listing(image: object) -> TypeGuard[str | Path]:
    """Whether `image` is a folder or a glob pattern, which may stand for several files."""
    if not isinstance(image, (str, Path)) or is_url(image) or is_stream(image):
        return False
    path = Path(image)
    return path.is_dir() or (not path.exists() and glob.has_magic(str(image)))


def listed_images(listing: str | Path) -> list[Path]:
    """The image files of a folder or a glob pattern, sorted.

    Raises:
        InputError: there are none, or there are videos too.
    """
    files = find_inputs(listing)
    video = next((file for file in files if is_video(file.name)), None)
    if video is not None:
        raise InputError(f"{listing} has the video {video.name}, which predict does not take: use model.stream")
    return files


def as_tensor(image: ImageInput, name: str) -> Tensor:
    """The pixels ``(3, H, W)`` of an image; see `as_input`."""
    return as_input(image, name)[0]


def as_input(image: ImageInput, name: str) -> tuple[Tensor, ImageSource]:
    """The pixels ``(3, H, W)`` of an image, and where they come from.

    Raises:
        InputError: `image`, which the message calls `name`, is none.
    """
    if isinstance(image, Tensor):
        check_image(image, name, waits=True)
        return image, ImageSource(image)
    if isinstance(image, (str, Path)):
        return _from_name(image, name)
    if is_pillow_image(image):
        return to_tensor(from_pillow(image, name)), ImageSource(image)
    return to_tensor(np.ascontiguousarray(_rgb(image, name))), ImageSource(image)


def _from_name(image: str | Path, name: str) -> tuple[Tensor, ImageSource]:
    """Those of a file or an address."""
    if is_stream(image) or (is_video(str(image)) and Path(image).exists()):
        raise InputError(f"{name} is the video {image}, which predict does not take: use model.stream({str(image)!r})")
    if is_url(image):
        data = download(str(image))
        return to_tensor(decode_image(data, str(image))), ImageSource(data, str(image))
    if is_listing(image):
        raise InputError(f"{name} is {image}, a folder or a pattern; give it alone, or give its files")
    return to_tensor(read_image(image)), ImageSource(Path(image), str(image))


def _rgb(pixels: object, name: str) -> np.ndarray:
    """An array ``(H, W, 3)``; others are refused, since nothing says what their channels mean."""
    if not isinstance(pixels, np.ndarray):
        raise InputError(f"{name} must be a path, an array, a tensor or a PIL image, got {type(pixels).__name__}")
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or pixels.size == 0:
        message = f"{name} must be (H, W, 3) uint8 RGB for an array, got {pixels.shape} {pixels.dtype}"
        raise InputError(message + _remedy(pixels))
    return pixels


def _remedy(pixels: np.ndarray) -> str:
    if pixels.dtype != np.uint8 or pixels.size == 0:
        return ""
    if pixels.ndim == 2:
        return "; of a gray image give numpy.stack([image] * 3, axis=-1)"
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        return "; leave its alpha out, image[..., :3]"
    return "; of channels first give image.transpose(1, 2, 0)" if pixels.ndim == 3 and pixels.shape[0] == 3 else ""
