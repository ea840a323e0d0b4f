"""IoU of run-length encoded masks."""

from __future__ import annotations

import torch
from pycocotools import mask as coco_masks
from torch import Tensor

from detkit.errors import InputError
from detkit.ops.checks import check_shape
from detkit.ops.library import NATIVE_DEVICES, is_native
from detkit.ops.masks.run_lengths import RunLengths, runs_to_coco


def mask_iou(masks1: RunLengths, masks2: RunLengths, iscrowd: Tensor | None = None) -> Tensor:
    """Pairwise IoU of two sets of masks, as COCO's evaluation computes it.

    Args:
        masks1: N masks of an image.
        masks2: M masks of the same image.
        iscrowd: bool ``(M,)``; for a crowd, the IoU is replaced by the share of the mask of `masks1` inside the crowd.

    Returns:
        float64 ``(N, M)`` in [0, 1].

    Raises:
        InputError: the masks are not of one size, or iscrowd does not fit.
    """
    if (masks1.height, masks1.width) != (masks2.height, masks2.width):
        raise InputError(
            f"masks1 and masks2 must be of one size, got {masks1.height} x {masks1.width} and "
            f"{masks2.height} x {masks2.width}"
        )
    iscrowd = torch.zeros(len(masks2), dtype=torch.bool, device="cpu") if iscrowd is None else iscrowd
    check_shape("iscrowd", iscrowd, (len(masks2),))
    if iscrowd.dtype != torch.bool:
        raise InputError(f"iscrowd must be bool, got {iscrowd.dtype}")
    run = torch.ops.detkit.run_iou if is_native(masks1.counts.device) else run_iou_reference
    runs = masks1.counts, masks1.offsets, masks2.counts, masks2.offsets
    iou: Tensor = run(*runs, masks1.height, masks1.width, iscrowd.cpu())
    return iou


def run_iou_reference(
    counts1: Tensor, offsets1: Tensor, counts2: Tensor, offsets2: Tensor, height: int, width: int, iscrowd: Tensor
) -> Tensor:
    """`mask_iou` by pycocotools."""
    masks1, masks2 = runs_to_coco(counts1, offsets1, height, width), runs_to_coco(counts2, offsets2, height, width)
    if not masks1 or not masks2:
        return torch.zeros(len(masks1), len(masks2), dtype=torch.float64)
    return torch.as_tensor(coco_masks.iou(masks1, masks2, iscrowd.tolist()).copy())


def _fake_run_iou(
    counts1: Tensor, offsets1: Tensor, counts2: Tensor, offsets2: Tensor, height: int, width: int, iscrowd: Tensor
) -> Tensor:
    return counts1.new_empty(offsets1.shape[0] - 1, offsets2.shape[0] - 1, dtype=torch.float64)


if NATIVE_DEVICES:
    torch.library.register_fake("detkit::run_iou", _fake_run_iou)
