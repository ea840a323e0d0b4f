"""Value noise in space, the texture of rendered objects."""

from __future__ import annotations

import numpy as np

from detkit.rendering.projected_faces import Floats

_CELLS = 16  # of the lattice, which repeats


def solid_noise(points: Floats, seed: int) -> Floats:
    """Smooth noise in [-1, 1] at points ``(3, P)``, in cells of length 1; the same seed gives the same noise."""
    lattice = np.random.default_rng(seed).uniform(-1, 1, _CELLS**3)
    cells = np.floor(points)
    share = points - cells
    share = share * share * (3 - 2 * share)
    low = cells.astype(np.int64) % _CELLS
    high = (low + 1) % _CELLS
    x, y, z = ((low[axis], high[axis]) for axis in range(3))
    along_x, along_y, along_z = share
    layers = []
    for plane in z:
        lines = []
        for line in y:
            start, end = (lattice[(plane * _CELLS + line) * _CELLS + column] for column in x)
            lines.append(start + (end - start) * along_x)
        layers.append(lines[0] + (lines[1] - lines[0]) * along_y)
    result: Floats = layers[0] + (layers[1] - layers[0]) * along_z
    return result
