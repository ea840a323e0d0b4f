"""Hold out a part of the images of a data set for validation, by the names of their files alone."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import PurePath
from typing import NamedTuple

import numpy as np

from detkit.errors import InputError


class HeldOut(NamedTuple):
    """One of the two parts of a data set.

    An image belongs to the held-out part by a hash of its file's name without folder and suffix. So the parts do not
    depend on the order, on the folder or on a seed, and an image stays in its part when others are added.

    Args:
        fraction: the share of the images that is held out, between 0 and 1; at least one image is, and one is left.
        held_out: whether this is the part that is held out, or the rest.
    """

    fraction: float
    held_out: bool

    def indices(self, file_names: Sequence[str], source: str) -> np.ndarray:
        """The indices of the images of the part, in order.

        Raises:
            InputError: there are fewer than two images; the message names `source`.
        """
        if len(file_names) < 2:
            raise InputError(f"{source}: {len(file_names)} images cannot be divided by data.val_fraction; add images")
        draws = np.array([_draw(name) for name in file_names])
        # A share of the range would not be that share of a few images.
        count = min(max(round(self.fraction * len(draws)), 1), len(draws) - 1)
        held_out = np.zeros(len(draws), dtype=bool)
        held_out[np.argsort(draws, kind="stable")[:count]] = True
        return np.flatnonzero(held_out == self.held_out)

    def __str__(self) -> str:
        part = f"{self.fraction:.0%} of the images" if self.held_out else f"all but {self.fraction:.0%} of the images"
        return f"{part}, by the hash of their names (data.val_fraction)"


def _draw(name: str) -> float:
    """A number in [0, 1) that depends on the name of a file alone."""
    return int.from_bytes(sha256(PurePath(name).stem.encode()).digest()[:6], "big") / 2**48
