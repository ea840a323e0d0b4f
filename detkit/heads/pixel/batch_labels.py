"""The label maps of a batch and the weights of its pixels, as losses take them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from detkit.geometry import rows_alike
from detkit.heads.context import Context
from detkit.structures.device_transfer import stacked_on, to_device
from detkit.structures.image_fields import IGNORE_INDEX, INSTANCES

IGNORED = -1
"""The class of pixels without one in the label maps of a batch, whatever the dtype of a target's."""


def batch_label_maps(context: Context) -> Tensor:
    """The class of each pixel of a batch ``(B, H, W)`` int64 in the frame of the network, `IGNORED` where it has none.

    Padding has none, and so have all pixels of an image without a label map. One without, but with a panoptic map, has
    the classes of that.
    """
    height, width = context.batch.padded_size
    device = context.batch.images.device
    labels = torch.full((len(context.truth), height, width), IGNORED, dtype=torch.int64, device=device)
    maps = [one.panoptic_map if one.label_map is None else one.label_map for one in context.truth]
    for rows, own in _alike(maps, device):
        known = own != IGNORE_INDEX[own.dtype]
        classes = own // INSTANCES if own.dtype == torch.int32 else own
        labels[rows, : own.shape[1], : own.shape[2]] = classes.long().where(known, IGNORED)
    return labels


def batch_pixel_weights(context: Context) -> Tensor:
    """The weight of each pixel of a batch ``(B, H, W)`` float32 in the frame of the network.

    It is 1 in images whose targets have no weights.
    """
    height, width = context.batch.padded_size
    device = context.batch.images.device
    weights = torch.ones(len(context.truth), height, width, device=device)
    for rows, own in _alike([target.pixel_weights for target in context.truth], device):
        weights[rows, : own.shape[1], : own.shape[2]] = own
    return weights


def _alike(maps: Sequence[Tensor | None], device: torch.device) -> Iterator[tuple[slice | Tensor, Tensor]]:
    """The rows of the maps of each size and dtype, and these maps in one tensor ``(n, H, W)``."""
    for rows in rows_alike(None if one is None else (one.shape, one.dtype) for one in maps):
        own = stacked_on([one for row in rows if (one := maps[row]) is not None], device)
        # Rows that follow each other as a slice, which needs no index on the device.
        follow = rows[-1] - rows[0] + 1 == len(rows)
        yield slice(rows[0], rows[-1] + 1) if follow else to_device(torch.tensor(rows), device), own
