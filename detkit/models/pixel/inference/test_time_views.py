"""Test-time augmentation of pixels: the mean over scales and flips."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.heads.pixel.pixel_head import at_size
from detkit.models.pixel.inference.pixel_network import Logits, Network, network_of

if TYPE_CHECKING:
    from detkit.models.pixel.segmentation_model import SegmentationModel


class Views:
    """The mean of the class probabilities over scales and flips of the network's input (Chen 2017, section 4).

    Args:
        scales: factors of the sides of the input, such as 0.5, 0.75, 1, 1.25, 1.5, 1.75.
        horizontal_flip: also the mirrored input, at every scale.
        vertical_flip: also the input upside down, at every scale.

    Raises:
        InputError: there is no scale, or one is not positive.
    """

    def __init__(
        self, scales: tuple[float, ...] = (1.0,), horizontal_flip: bool = False, vertical_flip: bool = False
    ) -> None:
        if not scales or min(scales) <= 0:
            raise InputError(f"inference views: scales must be positive numbers, at least one, got {list(scales)}")
        self.scales = tuple(scales)
        self.horizontal_flip, self.vertical_flip = horizontal_flip, vertical_flip

    def of(self, network: Network, divisor: int = 1, least: int = 1) -> Network:
        """A network that answers with the logarithm of the mean probabilities of all views.

        Args:
            network: of one view.
            divisor: the sides of scaled inputs are multiples of this, as those of batches are.
            least: sides are not made shorter than this, such as a cell of the network's coarsest map.

        Raises:
            InputError: when it is called, scales other than 1 of a network without padding.
        """
        flips = [axes for axes in ((), (-1,), (-2,), (-1, -2)) if self._has(axes)]
        floor = math.ceil(least / divisor) * divisor

        def viewed(images: Tensor) -> Logits:
            total: Tensor | None = None
            margin = 0
            for scale in sorted(self.scales, key=lambda one: one != 1):  # that of the image as it is tells the margin
                _check_scale(scale, margin)
                sides = [max(round(side * scale / divisor) * divisor, min(side, floor)) for side in images.shape[-2:]]
                scaled = images if scale == 1 else at_size(images, sides)
                for axes in flips:
                    logits = network(scaled.flip(axes) if axes else scaled)
                    margin = logits.margin
                    _check_scale(scale, margin)
                    values = logits.values.flip(axes) if axes else logits.values
                    size = [side - 2 * margin for side in images.shape[-2:]]
                    probabilities = at_size(values, size).softmax(dim=1)
                    total = probabilities if total is None else total.add_(probabilities)
            assert total is not None  # there is a scale
            mean = total / (len(self.scales) * len(flips))
            return Logits(mean.clamp_(min=torch.finfo(mean.dtype).tiny).log_(), margin)

        return viewed

    def _has(self, axes: tuple[int, ...]) -> bool:
        return (-1 not in axes or self.horizontal_flip) and (-2 not in axes or self.vertical_flip)


def _check_scale(scale: float, margin: int) -> None:
    if margin and scale != 1:
        raise InputError(
            "inference views: a network without padding takes inputs of certain sizes alone: leave out the scale "
            f"{scale:g}"
        )


def network_in_views(model: SegmentationModel, views: Views | None) -> Network:
    """The network of a model, in views if there are any."""
    network = network_of(model)
    if views is None:
        return network
    return views.of(network, model.preprocess.divisor, max(model.backbone.strides))
