"""A context as a model gives it to its heads, made of sizes alone."""

import torch

from detkit.geometry import Placement
from detkit.heads.context import Context
from detkit.preprocess import Batch


def context(sizes, targets=None, generator=None, padded=None):
    """Of images of `sizes` (height, width), or of one, that are given as the network sees them, `padded` to a size."""
    sizes = [sizes] if isinstance(sizes[0], int) else list(sizes)
    padded = padded or [max(size[axis] for size in sizes) for axis in (0, 1)]
    images = torch.zeros(1).expand(len(sizes), 3, *padded)
    return Context(Batch(images, [Placement.identity(tuple(size)) for size in sizes]), targets, None, generator)


def placed(placements, targets=None):
    """Of images that lie in the network's frame by `placements`."""
    padded = [max(place.size[axis] for place in placements) for axis in (0, 1)]
    return Context(Batch(torch.zeros(1).expand(len(placements), 3, *padded), placements), targets)
