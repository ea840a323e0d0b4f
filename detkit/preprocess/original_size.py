"""`OriginalSize`, preprocessing without resizing."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from detkit.geometry import Placement, Size
from detkit.preprocess.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess, takes_batches
from detkit.preprocess.shortest_edge import ShortestEdge

_LONGEST = 2  # maximum ratio of the longer to the shorter side, for multi-scale training


class OriginalSize(Preprocess):
    """Leaves images at their size; normalizes them and pads the batch to a common size.

    Args:
        mean: of each RGB channel, in [0, 1].
        std: of each RGB channel.
        divisor: the padded height and width are multiples of this.
    """

    def __init__(
        self, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD, divisor: int = 1
    ) -> None:
        super().__init__(mean, std, divisor)

    def place(self, size: Size) -> Placement:
        """The identity."""
        return Placement.identity(size)

    @takes_batches
    def pixels(self, image: Tensor, placement: Placement) -> Tensor:
        """Normalized."""
        return self._normalized(image)

    def resize_to(self, side: int) -> Preprocess:
        """Images with a shorter side of `side` pixels and a longer one of at most twice as many."""
        mean, std = self.mean.flatten().tolist(), self.std.flatten().tolist()
        return ShortestEdge(side, _LONGEST * side, mean, std, self.divisor).to(self.mean.device)
