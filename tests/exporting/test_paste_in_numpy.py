"""docs/export.md pastes masks with numpy as detkit does."""

import numpy as np
import torch
from numpy_reader import BLOCKS

from detkit.ops import paste_masks


def test_masks_are_pasted_as_shown():
    names: dict = {}
    exec(next(block for block in BLOCKS if "def paste" in block), names)
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(40, 2, generator=generator) * 60 - 10
    boxes = torch.cat((corners, corners + 2 ** (torch.rand(40, 2, generator=generator) * 7)), dim=1)
    boxes = boxes.clamp(torch.zeros(4), torch.tensor([70.0, 50, 70, 50]))
    masks = torch.rand(40, 28, 28, generator=generator)
    expected = paste_masks(masks, boxes, (50, 70)).numpy()
    pasted = np.stack(
        [names["paste"](mask, box, 50, 70) for mask, box in zip(masks.numpy(), boxes.numpy(), strict=True)]
    )
    assert expected.any(axis=(1, 2)).sum() > 30
    assert (pasted != expected).sum() <= 1e-3 * expected.sum()
