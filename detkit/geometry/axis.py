"""How one coordinate moves where an affine map is parallel to the axes."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import numpy as np
from torch import Tensor

Array = TypeVar("Array", np.ndarray, Tensor)


class Axis(NamedTuple):
    """What becomes of one coordinate: the part that is shown begins exactly where its window does.

    Args:
        scale: negative where it mirrors.
        begin: of the part that is shown, in the given frame.
        place: where that is in the new frame, before it is mirrored.
        side: of the new frame.
    """

    scale: float
    begin: float
    place: float
    side: float

    @classmethod
    def of(
        cls, scale: float, offset: float, side: float, part: tuple[float, float], window: tuple[float, float]
    ) -> Axis:
        """The axis on which x goes to ``scale x + offset``, and `part` to `window`."""
        begin, end = part[0], window[0] if scale > 0 else window[1]
        if begin == 0 or abs(scale * begin + offset - end) > 1e-6:  # the window cuts the image, or shows nothing of it
            begin, end = 0.0, offset
        return cls(scale, begin, end if scale > 0 else side - end, side)

    def __call__(self, values: Array) -> Array:
        """`values` of the given frame, in the new one."""
        moved = values - self.begin if self.begin else values
        if abs(self.scale) != 1:
            moved = moved * abs(self.scale)
        moved = moved + self.place if self.place else moved
        return moved if self.scale > 0 else self.side - moved
