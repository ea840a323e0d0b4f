"""A context as a model gives it to its heads, made of sizes alone."""

import torch

from detkit.geometry import Placement
from detkit.heads.context import Context
from detkit.preprocess import Batch


def context(sizes, targets=None, generator=None):
    """Of images of `sizes` (height, width), or of one, that are given as the network sees them."""
    sizes = [sizes] if isinstance(sizes[0], int) else list(sizes)
    padded = [max(size[axis] for size in sizes) for axis in (0, 1)]
    images = torch.zeros(1).expand(len(sizes), 3, *padded)
    return Context(Batch(images, [Placement.identity(tuple(size)) for size in sizes]), targets, None, generator)
