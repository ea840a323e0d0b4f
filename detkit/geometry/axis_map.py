"""`AxisMap`: one coordinate of an axis-aligned affine map."""

from __future__ import annotations

from typing import NamedTuple

from detkit.geometry.arrays import Array


class AxisMap(NamedTuple):
    """The map of one coordinate. The visible part begins exactly where its window does, without rounding errors.

    Args:
        scale: factor of the coordinate, negative if it is mirrored.
        begin: start of the visible part, in the given frame.
        new_begin: where that start lies in the new frame, before mirroring.
        side: length of the new frame.
    """

    scale: float
    begin: float
    new_begin: float
    side: float

    @classmethod
    def of(
        cls, scale: float, offset: float, side: float, part: tuple[float, float], window: tuple[float, float]
    ) -> AxisMap:
        """The map from x to ``scale x + offset``, and `part` to `window`."""
        begin, end = part[0], window[0] if scale > 0 else window[1]
        if begin == 0 or abs(scale * begin + offset - end) > 1e-6:  # the window crops the image, or shows none of it
            begin, end = 0.0, offset
        return cls(scale, begin, end if scale > 0 else side - end, side)

    def __call__(self, values: Array) -> Array:
        """Coordinates of the given frame, in the new one."""
        moved = values - self.begin if self.begin else values
        if abs(self.scale) != 1:
            moved = moved * abs(self.scale)
        moved = moved + self.new_begin if self.new_begin else moved
        return moved if self.scale > 0 else self.side - moved
