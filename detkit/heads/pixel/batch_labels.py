"""The label maps of a batch, as losses take them."""

from __future__ import annotations

import torch
from torch import Tensor

from detkit.heads.context import Context
from detkit.structures.device_transfer import to_device
from detkit.structures.image_fields import IGNORE_INDEX

IGNORED = -1
"""The class of pixels without one in the label maps of a batch, whatever the dtype of a target's."""


def batch_label_maps(context: Context) -> Tensor:
    """The class of each pixel of a batch ``(B, H, W)`` int64 in the frame of the network, `IGNORED` where it has none.

    Padding has none, and so have all pixels of an image whose label map is None.
    """
    height, width = context.batch.padded_size
    device = context.batch.images.device
    labels = torch.full((len(context.truth), height, width), IGNORED, dtype=torch.int64, device=device)
    for index, target in enumerate(context.truth):
        if target.label_map is None:
            continue
        own = to_device(target.label_map, device).long()
        own = own.masked_fill(own == IGNORE_INDEX[target.label_map.dtype], IGNORED)
        labels[index, : own.shape[0], : own.shape[1]] = own
    return labels
