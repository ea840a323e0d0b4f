"""The inputs of a graph for images of a folder, from which quantization takes the ranges of values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from detkit.data.spread import evenly_spread
from detkit.errors import InputError
from detkit.exporting.recording import Recorded
from detkit.images import find_inputs, is_video, read_image, to_tensor

MOST_IMAGES = 100
"""Images that calibration reads: of each layer it needs no more than the range of its values."""

WINDOWS = (1, 2, 4)
"""Windows along a side of an image that stand for proposals, where a detector makes none."""


def calibration_files(folder: str | Path) -> list[Path]:
    """A hundred images of a folder, spread evenly over their names, or all where there are fewer.

    Raises:
        InputError: there are none.
    """
    files = [Path(file) for file in find_inputs(folder) if not is_video(file.name)]
    if not files:
        raise InputError(f"{folder} has no images for the calibration of INT8: name a folder of images.")
    return [files[row] for row in evenly_spread(len(files), MOST_IMAGES)]


@torch.no_grad()
def calibration_inputs(recorded: Recorded, files: Sequence[Path]) -> Iterator[dict[str, np.ndarray]]:
    """The inputs of the graph for one image after the other, made as docs/export.md describes."""
    for file in files:
        images, size = _placed(recorded, to_tensor(read_image(file)))
        inputs = {"images": images, "sizes": torch.tensor([size]), "proposals": _windows(size)}
        yield {name: inputs[name].cpu().numpy() for name in recorded.inputs}


def _placed(recorded: Recorded, image: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """The image ``(1, 3, H, W)`` as the graph takes it, and its size without padding.

    Where the graph has one size and the preprocessing has not, a larger image is made smaller, and padded.
    """
    preprocess, shape = recorded.model.preprocess, recorded.shapes["images"]
    batch = preprocess([image])
    (size,) = batch.sizes
    images, fixed = batch.images, [side for side in shape[2:] if isinstance(side, int)]
    if fixed and list(images.shape[2:]) != fixed:
        scale = min(1.0, *(side / own for side, own in zip(fixed, size, strict=True)))
        size = tuple(max(1, int(side * scale)) for side in size)
        content = images[..., : batch.sizes[0][0], : batch.sizes[0][1]]
        content = F.interpolate(content, size, mode="bilinear", antialias=True)
        images = F.pad(content, (0, fixed[1] - size[1], 0, fixed[0] - size[0]))  # with the mean color
    return images if recorded.raw else images * preprocess.std + preprocess.mean, (size[0], size[1])


def _windows(size: tuple[int, int]) -> Tensor:
    """Windows ``(1, P, 4)`` of several sizes that cover an image."""
    windows = [
        (column / count, row / count, (column + 1) / count, (row + 1) / count)
        for count in WINDOWS for row in range(count) for column in range(count)
    ]  # fmt: skip
    height, width = size
    return (torch.tensor(windows) * torch.tensor([width, height, width, height]))[None]
