"""Why boxes differ: they are shifted, scaled, or in another format."""

from __future__ import annotations

import numpy as np

_LEAST_BOXES = 3
_LEAST_PIXELS = 0.05
"""A shift below it is not worth a sentence: boxes are compared to fractions of a pixel anyway."""
_EXPLAINED = 0.1
"""The share of a difference that may remain when its cause is taken away."""


def box_causes(expected: np.ndarray, given: np.ndarray) -> list[str]:
    """Sentences on the boxes of pairs.

    Args:
        expected: ``(P, 4)`` of the checkpoint.
        given: ``(P, 4)`` of the file.
    """
    finite = np.isfinite(given).all(axis=1)
    expected, given = expected[finite], given[finite]
    difference = np.abs(given - expected)
    if len(expected) < _LEAST_BOXES or np.median(difference.max(axis=1)) < _LEAST_PIXELS:
        return []
    x1, y1, x2, y2 = expected.T
    formats = {
        "y1 x1 y2 x2": np.stack([y1, x1, y2, x2], axis=1),
        "center and size": np.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], axis=1),
        "corner and size": np.stack([x1, y1, x2 - x1, y2 - y1], axis=1),
    }
    typical = np.median(difference)
    for name, other in formats.items():
        if np.median(np.abs(given - other)) < _EXPLAINED * typical:
            return [f"boxes are in another format: {name} in place of x1 y1 x2 y2"]
    shift = np.median(given - expected, axis=0)
    if np.median(np.abs(given - expected - shift)) < _EXPLAINED * np.abs(shift).max():
        return [f"boxes are shifted by ({', '.join(f'{value:+.1f}' for value in shift)}) pixels in x1 y1 x2 y2"]
    lines = [_line(np.concatenate([expected[:, a], expected[:, a + 2]]), np.concatenate([given[:, a], given[:, a + 2]]))
             for a in (0, 1)]  # fmt: skip
    rest = np.abs(given - np.stack([lines[a % 2][0] * expected[:, a] + lines[a % 2][1] for a in range(4)], axis=1))
    if np.median(rest) < _EXPLAINED * typical:
        words = (
            f"{axis} is {scale:.3f} {axis} {offset:+.1f}" for axis, (scale, offset) in zip("xy", lines, strict=True)
        )
        return [f"boxes are scaled: {' and '.join(words)} pixels"]
    return []


def _line(before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """Slope and offset by least squares, once more without the half that fits worst."""
    slope, offset = 1.0, float(np.median(after - before))
    kept = np.full(len(before), True)
    for _ in range(2):
        first, second = before[kept], after[kept]
        if len(first) < _LEAST_BOXES or np.ptp(first) < 1:
            break
        from_mean = first - first.mean()
        slope = float(from_mean @ second / (from_mean @ from_mean))
        offset = float(second.mean() - slope * first.mean())
        apart = np.abs(slope * before + offset - after)
        kept = apart <= np.median(apart)
    return slope, offset
