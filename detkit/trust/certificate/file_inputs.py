"""What an exported file gets for images, and where these lie in it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from detkit.errors import InputError
from detkit.exporting.runtimes import ExportedFile
from detkit.models import VisionModel
from detkit.preprocess import Batch
from detkit.structures import Target
from detkit.trust.certificate.stated_facts import StatedFacts
from detkit.trust.certificate.stated_pixels import stated_pixels


@dataclass(frozen=True, eq=False)
class FileInputs:
    """The inputs of a file for some images.

    Args:
        values: by name.
        batch: the images in the frame of the network, with their placements.
    """

    values: dict[str, Tensor]
    batch: Batch

    def row(self, index: int) -> FileInputs:
        """Those of one image, with the padding that it has among the others."""
        values = {name: value[index : index + 1] for name, value in self.values.items()}
        return FileInputs(values, Batch(self.batch.images[index : index + 1], [self.batch.placements[index]]))


class InputMaker:
    """Makes the inputs of a file: as its metadata describes, else as the model's preprocessing does.

    Args:
        file: the file.
        model: of the checkpoint, on the CPU.
        facts: what the file says.
    """

    def __init__(self, file: ExportedFile, model: VisionModel, facts: StatedFacts) -> None:
        self.file, self.model, self.facts = file, model, facts
        sides: list[int | None] = (file.shapes.get("images") or [None] * 4)[-2:]
        height, width = sides
        self.size = None if height is None or width is None else (height, width)

    @torch.no_grad()
    def __call__(self, images: Sequence[Tensor], given: Sequence[Target]) -> FileInputs:
        """The inputs for `images`, which are ``(3, H, W)`` uint8 or float in [0, 1].

        Raises:
            InputError: an image is larger than the input of the file.
        """
        batch = self._batch(images)
        if self.size is not None:
            batch = _padded_to(batch, self.size)
        preprocess = self.model.preprocess
        pixels = batch.images if self.facts.is_raw else batch.images * preprocess.std + preprocess.mean
        values = {"images": pixels, "sizes": torch.tensor(batch.sizes)}
        if "proposals" in self.file.inputs:
            moved = [one.proposals for one in preprocess.targets(given, batch)]
            boxes = [torch.zeros(0, 4) if one is None else one for one in moved]
            values["proposals"] = torch.nn.utils.rnn.pad_sequence(boxes, batch_first=True)
        return FileInputs(values, batch)

    def _batch(self, images: Sequence[Tensor]) -> Batch:
        how = self.facts.other_preprocess
        if how is None:
            batch: Batch = self.model.preprocess(images)
            return batch
        try:
            made = [stated_pixels(_array(image), how) for image in images]
            divisor, pad = int(how.get("divisor") or 1), np.array(how["pad_value"], "float32")[:, None, None]
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise InputError(
                f"{self.file.path}: detkit.preprocess describes no input that can be made ({error!r}): export the "
                "checkpoint again."
            ) from error
        height, width = (
            math.ceil(max(pixels.shape[axis] for pixels, _ in made) / divisor) * divisor for axis in (1, 2)
        )
        canvas = np.ones((len(made), 3, height, width), "float32") * pad
        for row, (pixels, _) in zip(canvas, made, strict=True):
            row[:, : pixels.shape[1], : pixels.shape[2]] = pixels
        normalized = (torch.from_numpy(canvas) - self.model.preprocess.mean) / self.model.preprocess.std
        return Batch(normalized, [placement for _, placement in made])


def _padded_to(batch: Batch, size: tuple[int, int]) -> Batch:
    """The batch padded to the one size that a file takes."""
    height, width = batch.padded_size
    if height > size[0] or width > size[1]:
        raise InputError(f"an image of {height} x {width} pixels is larger than the input of {size[0]} x {size[1]}")
    return replace(batch, images=F.pad(batch.images, (0, size[1] - width, 0, size[0] - height)))


def _array(image: Tensor) -> np.ndarray:
    """``(H, W, 3)`` in [0, 1]."""
    pixels = image.permute(1, 2, 0).numpy()
    return pixels / np.float32(255) if pixels.dtype == np.uint8 else pixels
