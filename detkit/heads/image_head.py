"""What every head that answers for the whole image promises."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from detkit.errors import InputError
from detkit.structures import Classification, Detections, Target


class ImageHead(nn.Module):
    """A head with one answer for each image, with a loss of its own."""

    def forward(self, features: Any) -> Any:
        """Raw outputs on what the trunk says; no thresholds."""
        raise NotImplementedError

    def losses(self, raw: Any, targets: Sequence[Target], image_sizes: Sequence[tuple[int, int]]) -> dict[str, Tensor]:
        """Named scalar losses of `raw`; the same names at every step.

        Args:
            raw: what `forward` says.
            targets: ground truth of each image, in pixels of the network's input, each with its ``image_label``.
            image_sizes: (height, width) of each image without padding.
        """
        raise NotImplementedError

    def decode(
        self, raw: Any, image_sizes: Sequence[tuple[int, int]]
    ) -> Sequence[Classification] | Sequence[Detections]:
        """The answer for each image, in pixels of the network's input."""
        raise NotImplementedError


def image_labels(targets: Sequence[Target], num_classes: int, device: torch.device) -> Tensor:
    """The classes ``(B,)`` int64 of images as a whole.

    Raises:
        InputError: an image has none, or one that the model does not have; the message names it.
    """
    labels = [target.image_label for target in targets]
    for index, label in enumerate(labels):
        if label is None or not 0 <= label < num_classes:
            raise InputError(
                f"targets[{index}], image id {targets[index].image_id!r}: image_label is {label}, not a class in "
                f"0..{num_classes - 1}; objects give images a class with data.image_class"
            )
    return torch.tensor(labels, dtype=torch.int64).to(device, non_blocking=True)
