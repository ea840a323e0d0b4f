"""What every model is, whatever it answers, and what every detector is, whatever stands behind it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
import torch
from torch import Tensor, nn

from detkit.errors import InputError
from detkit.images import read_image
from detkit.structures import Category, Target

if TYPE_CHECKING:  # tasks stand above models
    from detkit.tasks import Task

ImageInput = str | Path | np.ndarray | Tensor


class Answer(Protocol):
    """What a model says of one image: `Detections`, a `Classification`, or what a task of your own has."""

    def to(self, device: torch.device | str, /) -> Self:
        """The same with every tensor on `device`."""


class VisionModel(nn.Module):
    """Images in; losses out where targets are given, answers where not.

    A subclass gives `compute_losses` and `detect`. What a call returns depends on its arguments alone, never on
    ``training``, so that a validation loss is a call like any other.

    Args:
        num_classes: classes without background; None for a model that has none.

    Attributes:
        categories: the class of each label as its data set names it; None until known.
        learns_from: the fields of `Target` beside boxes and labels without which something is not learned.
        task: what its answers are, and so how they are evaluated, drawn and written: a `detkit.tasks.Task`, or the
            import path of one. `detkit.tasks.task_of` gives the object.
    """

    task: Task | str

    def __init__(self, num_classes: int | None = None) -> None:
        super().__init__()
        if num_classes is not None and num_classes < 1:
            raise InputError(f"num_classes must be at least 1, got {num_classes}")
        self.num_classes = num_classes
        self.categories: list[Category] | None = None
        self.learns_from: frozenset[str] = frozenset()

    def forward(
        self, images: Sequence[Tensor], targets: Sequence[Target] | None = None
    ) -> dict[str, Tensor] | Sequence[Answer]:
        """Losses of `images` against `targets`, or without `targets` the answers for `images`.

        Args:
            images: ``(3, H, W)`` each, RGB, uint8 or float in [0, 1], of any sizes.
            targets: ground truth of each image, in its pixels.

        Returns:
            Named scalar losses, weighted, to be summed; or the answer for each image in its own pixels.

        Raises:
            InputError: an image or a target is not as it must be; the message says which and how.
        """
        check_images(images)
        if targets is None:
            return self.detect(images)
        check_targets(images, targets, self.num_classes)
        return self.compute_losses(images, targets)

    def compute_losses(self, images: Sequence[Tensor], targets: Sequence[Target]) -> dict[str, Tensor]:
        """Named scalar losses; the same names at every step."""
        raise NotImplementedError

    def detect(self, images: Sequence[Tensor]) -> Sequence[Answer]:
        """The answer for each image, in its own pixels."""
        raise NotImplementedError

    @torch.inference_mode()
    def predict(self, inputs: ImageInput | Sequence[ImageInput], batch_size: int = 8) -> Any:
        """Answer in evaluation mode, on the device of the model, in batches.

        Args:
            inputs: an image or a sequence of images, each the path of a file, a ``(H, W, 3)`` uint8 RGB array, or a
                ``(3, H, W)`` RGB tensor, uint8 or float in [0, 1].
            batch_size: images that pass through the network at once.

        Returns:
            An answer on the CPU for one image, a list of them for a sequence.

        Raises:
            InputError: a file cannot be read, or an array is no image.
        """
        if not _is_sequence(inputs):
            return self.predict([inputs], batch_size)[0]
        in_training = [module for module in self.modules() if module.training]
        self.eval()
        try:
            found = []
            for start in range(0, len(inputs), batch_size):
                batch = enumerate(inputs[start : start + batch_size], start)
                images = [_as_tensor(image, f"inputs[{index}]") for index, image in batch]
                found += [detections.to("cpu") for detections in self(images)]
            return found
        finally:
            for module in in_training:
                module.training = True


class Detector(VisionModel):
    """A model whose answers are `Detections`.

    Args:
        num_classes: classes without background.
    """

    task = "detkit.tasks.Detection"
    num_classes: int

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)


def _is_sequence(inputs: ImageInput | Sequence[ImageInput]) -> bool:
    """Whether `inputs` are several images, also as one array or tensor ``(B, …)``."""
    return getattr(inputs, "ndim", 0) == 4 or (isinstance(inputs, Sequence) and not isinstance(inputs, str))


def _as_tensor(image: ImageInput, name: str) -> Tensor:
    if isinstance(image, Tensor):
        check_image(image, name)
        return image
    pixels = read_image(image) if isinstance(image, (str, Path)) else image
    if not isinstance(pixels, np.ndarray):
        raise InputError(f"{name} must be a path, an array or a tensor, got {type(image).__name__}")
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise InputError(f"{name} must be (H, W, 3) uint8 RGB for an array, got {pixels.shape} {pixels.dtype}")
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)


def check_images(images: Sequence[Tensor]) -> None:
    """Raise InputError unless `images` is a non-empty sequence of images."""
    if len(images) == 0:
        raise InputError("a detector needs at least one image, got none")
    for index, image in enumerate(images):
        check_image(image, f"images[{index}]")


def check_image(image: Tensor, name: str) -> None:
    """Raise InputError unless `image` is a ``(3, H, W)`` uint8 or floating tensor."""
    is_image = isinstance(image, Tensor) and image.ndim == 3 and image.shape[0] == 3 and image.numel() > 0
    if not is_image or not (image.dtype == torch.uint8 or image.is_floating_point()):
        got = f"{tuple(image.shape)} {image.dtype}" if isinstance(image, Tensor) else type(image).__name__
        raise InputError(f"{name} must be a (3, H, W) tensor, uint8 or float in [0, 1], got {got}")


def check_targets(images: Sequence[Tensor], targets: Sequence[Target], num_classes: int | None) -> None:
    """Raise InputError unless there is one target per image that fits it.

    Its boxes must have positive size and labels that the model has, its masks the size of the image.
    """
    if len(targets) != len(images):
        raise InputError(f"got {len(images)} images but {len(targets)} targets")
    for index, target in enumerate(targets):
        if not isinstance(target, Target):
            raise InputError(f"targets[{index}] must be a detkit.structures.Target, got {type(target).__name__}")
        if target.masks is not None and tuple(target.masks.shape[1:]) != tuple(images[index].shape[1:]):
            raise InputError(
                f"targets[{index}], image id {target.image_id}: its masks have {tuple(target.masks.shape[1:])} pixels "
                f"(height, width), but the image has {tuple(images[index].shape[1:])}"
            )
    boxes = torch.cat([target.boxes for target in targets])
    labels = torch.cat([target.labels for target in targets])
    # One comparison for the whole batch: the device is waited for once.
    good = (boxes[:, 2:] > boxes[:, :2]).all(dim=1) & boxes.isfinite().all(dim=1)
    good &= labels >= 0
    if num_classes is not None:
        good &= labels < num_classes
    if bool(good.all()):
        return
    row = int((~good).nonzero()[0, 0])
    known = "0, 1 …" if num_classes is None else f"0..{num_classes - 1}"
    image = int(np.searchsorted(np.cumsum([len(target) for target in targets]), row, side="right"))
    raise InputError(
        f"targets[{image}], image id {targets[image].image_id}: box {boxes[row].tolist()} with label "
        f"{int(labels[row])} is not x1 < x2, y1 < y2, finite, with a label in {known}"
    )
