"""Contexts of batches whose images lie in the network's input as they are."""

import torch

from detkit.geometry import Placement
from detkit.heads import Context
from detkit.preprocess import Batch


def context_of(sizes, targets=None, padded_size=None, generator=None):
    """The context of black images of `sizes` (height, width), or of one, padded to the greatest or `padded_size`."""
    sizes = [sizes] if isinstance(sizes[0], int) else list(sizes)
    height, width = padded_size or map(max, zip(*sizes, strict=True))
    images = torch.zeros(1).expand(len(sizes), 3, height, width)
    batch = Batch(images, [Placement.identity(tuple(size)) for size in sizes])
    return Context(batch, targets, generator=generator)


def placed(placements, targets=None):
    """The context of black images with these placements."""
    height, width = map(max, zip(*(place.size for place in placements), strict=True))
    return Context(Batch(torch.zeros(len(placements), 3, height, width), placements), targets)
