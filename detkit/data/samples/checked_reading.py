"""Reading one image of a data set, with errors that name it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from detkit.errors import InputError, one_line, raising_module
from detkit.structures import Target


def read_sample(dataset: Any, index: int) -> tuple[np.ndarray, Target]:
    """The image and target that `dataset.read` gives, which may be a class of the user's.

    Args:
        dataset: an `ImageDataset`, or another that has `read`.
        index: of the image.

    Raises:
        InputError: what was read is no image with a target, or has a field of a wrong type or shape; it names the
            image and the field. The same where the file or the memory fails.
        Exception: any other that `read` raises, with a note that names the image.
    """
    return _checked(dataset, index, _asked(dataset.read, dataset, index))


def read_samples(dataset: Any, indices: Sequence[int]) -> list[tuple[np.ndarray, Target]]:
    """As `read_sample` for each of `indices`. Where it makes no difference, all targets are read before the images:
    decoding drives the code that reads them from the caches, so that after each image it takes three times as long."""
    if not getattr(dataset, "reads_targets_apart", False):
        return [read_sample(dataset, index) for index in indices]
    targets = [_asked(dataset.target, dataset, index) for index in indices]
    return [
        _checked(dataset, index, (_asked(dataset.read_image, dataset, index), target))
        for index, target in zip(indices, targets, strict=True)
    ]


def _asked(read: Callable[[int], Any], dataset: Any, index: int) -> Any:
    """What a method of the data set gives for an image, with errors that name it."""
    try:
        return read(index)
    except InputError:
        raise
    except (OSError, MemoryError) as error:
        raise InputError(f"{_described(dataset, index)} could not be read: {_cause(error)}.") from error
    except Exception as error:
        # A field of a target was checked and refused.
        if isinstance(error, (TypeError, ValueError)) and raising_module(error).startswith("detkit.structures."):
            raise InputError(f"{_described(dataset, index)}: {error}.") from error
        error.add_note(f"This was raised while {_described(dataset, index)} was read.")
        raise


def _checked(dataset: Any, index: int, sample: Any) -> tuple[np.ndarray, Target]:
    if wrong := _wrong(sample):
        raise InputError(f"{_described(dataset, index)}: read(index) must give {wrong}.")
    image, target = sample
    return image, target


def _wrong(sample: Any) -> str | None:
    """What a sample must be and is not."""
    if not isinstance(sample, tuple) or len(sample) != 2:
        return f"an image and its Target, not {_kind(sample)}"
    image, target = sample
    if not isinstance(target, Target):
        return f"a detkit.structures.Target beside the image, not {_kind(target)}"
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        return f"the image as an array (H, W, 3) uint8 RGB, not {_kind(image)}"
    if 0 in image.shape:
        return f"an image with pixels, not one of shape {image.shape}"
    for name in ("masks", "label_map"):
        value = getattr(target, name)
        size = (value.height, value.width) if hasattr(value, "height") else getattr(value, "shape", ())[-2:]
        if value is not None and tuple(size) != image.shape[:2]:
            return f"Target.{name} at the size of the image, {image.shape[:2]}, not {tuple(size)}"
    # In numpy, as all that the loader calls: torch takes several times as long for the few boxes of an image.
    if target.boxes is not None and not np.isfinite(target.boxes.numpy()).all():
        return "finite Target.boxes, not inf or nan"
    return None


def _kind(value: Any) -> str:
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    return type(value).__name__ if shape is None else f"{type(value).__name__} {tuple(shape)} {dtype}"


def _described(dataset: Any, index: int) -> str:
    owner = type(dataset).__name__
    try:
        return f"{owner}, image {index} (id {dataset.image_ids[index]!r})"
    except Exception:  # the data set may be wrong in this too, which would hide the error
        return f"{owner}, image {index}"


def _cause(error: BaseException) -> str:
    return "there is no memory left" if isinstance(error, MemoryError) else one_line(error)
