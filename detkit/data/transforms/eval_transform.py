"""Evaluation on transformed images, such as corrupted ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from detkit.data.image_dataset import ImageDataset
from detkit.data.samples.checked_reading import read_sample
from detkit.errors import InputError
from detkit.images import to_tensor
from detkit.structures import Target

EvalTransform = Callable[[np.ndarray, np.random.Generator], Any]
"""Maps an image, uint8 RGB ``(H, W, 3)``, and a random generator to an image of the same shape, whose objects have not
moved."""


class TransformedImages(Dataset):
    """A data set with transformed images; the result depends on `seed` and the index of the image alone.

    Args:
        dataset: the images and targets.
        transform: changes pixels and moves nothing.
        seed: of the transform's randomness.

    Raises:
        InputError: when an image is read, the transform has given another shape or type.
    """

    def __init__(self, dataset: ImageDataset, transform: EvalTransform, seed: int = 0) -> None:
        self.dataset = dataset
        self.transform = transform
        self.seed = seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Tensor, Target]:
        image, target = read_sample(self.dataset, index)
        changed = self.transform(image, np.random.default_rng([self.seed, index]))
        if not isinstance(changed, np.ndarray) or changed.shape != image.shape or changed.dtype != np.uint8:
            got = f"{changed.shape} {changed.dtype}" if isinstance(changed, np.ndarray) else type(changed).__name__
            raise InputError(
                f"data.eval_transform must give an array {image.shape} uint8 for image id {target.image_id!r}, as it "
                f"was given, got {got}"
            )
        return to_tensor(changed), target
