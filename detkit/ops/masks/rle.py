"""Run-length encoding of masks as COCO stores them, column after column, and decoding."""

from __future__ import annotations

import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.ops.checks import check_shape
from detkit.ops.library import NATIVE_DEVICES, is_native
from detkit.ops.masks.ragged import fake_rows, pack_rows, rows_on_cpu, unpack_rows
from detkit.ops.masks.run_lengths import RunLengths


def masks_to_rle(masks: Tensor | RunLengths) -> RunLengths:
    """Run-length encode masks, with the runs of pycocotools. Encoded masks are returned unchanged.

    Args:
        masks: ``(N, H, W)`` bool or uint8, nonzero inside. They are encoded on their device; the runs are copied to the
            CPU.

    Raises:
        InputError: the shape or dtype does not fit.
    """
    if isinstance(masks, RunLengths):
        return masks
    check_shape("masks", masks, ("N", "H", "W"))
    if masks.dtype not in (torch.bool, torch.uint8):
        raise InputError(f"masks must be bool or uint8, got {masks.dtype}: threshold them first")
    height, width = masks.shape[1:]
    if is_native(masks.device):
        return RunLengths(*rows_on_cpu(*torch.ops.detkit.masks_to_runs(masks)), height, width)
    return RunLengths(*masks_to_runs_reference(masks.cpu()), height, width)


def rle_to_masks(masks: RunLengths | Tensor, device: torch.device | str | None = None) -> Tensor:
    """The reverse of `masks_to_rle`: bool ``(N, H, W)``. Masks of pixels are returned unchanged.

    Args:
        masks: of one image.
        device: of the result; None: the CPU, or the device of masks of pixels.

    Raises:
        RuntimeError: the runs of a mask are negative, or do not sum to its pixels.
    """
    if isinstance(masks, Tensor):
        return masks if device is None else masks.to(device)
    device = torch.device("cpu" if device is None else device)
    if device.type != "cpu" and is_native(device):
        _check_full(masks)
        arrays = [array.to(device, non_blocking=True) for array in (masks.counts, masks.offsets)]
        pixels: Tensor = torch.ops.detkit.runs_to_masks(*arrays, masks.height, masks.width)
        return pixels
    return _decoded_on_cpu(masks).to(device)


def _decoded_on_cpu(masks: RunLengths) -> Tensor:
    if is_native(masks.counts.device):
        pixels: Tensor = torch.ops.detkit.runs_to_masks(masks.counts, masks.offsets, masks.height, masks.width)
        return pixels
    return runs_to_masks_reference(masks.counts, masks.offsets, masks.height, masks.width)


def masks_to_runs_reference(masks: Tensor) -> tuple[Tensor, Tensor]:
    """`masks_to_rle` in plain torch: counts and offsets."""
    pixels = (masks != 0).transpose(1, 2).flatten(1)  # column after column
    outside = pixels.new_zeros(len(pixels), 1)
    return pack_rows([_runs_of(row) for row in (pixels != torch.cat([outside, pixels[:, :-1]], 1))])


def runs_to_masks_reference(counts: Tensor, offsets: Tensor, height: int, width: int) -> Tensor:
    """`rle_to_masks` in plain torch."""
    masks = [
        torch.repeat_interleave(torch.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T
        for runs in unpack_rows(counts, offsets)
    ]
    return torch.stack(masks) if masks else torch.zeros(0, height, width, dtype=torch.bool)


def _check_full(masks: RunLengths) -> None:
    """Raise RuntimeError unless the runs of each mask sum to its pixels; the CUDA kernels rely on that."""
    ends = torch.cat([masks.offsets.new_zeros(1), masks.counts.long().cumsum(0)])
    wrong = torch.where(ends[masks.offsets].diff() != masks.height * masks.width)[0]
    if len(wrong) or bool((masks.counts < 0).any()):
        which = f"mask {int(wrong[0])}: its runs" if len(wrong) else "runs"
        raise RuntimeError(f"{which} must not be negative, and sum to {masks.height} x {masks.width} pixels")


def _runs_of(changes: Tensor) -> Tensor:
    """The run lengths of one mask, given which of its pixels differ from the one before, bool ``(H * W,)``."""
    edges = torch.cat([torch.zeros(1, dtype=torch.int64), torch.where(changes)[0], torch.tensor([len(changes)])])
    return edges.diff().int()


def _fake_masks_to_runs(masks: Tensor) -> tuple[Tensor, Tensor]:
    return fake_rows(masks, masks.shape[0], torch.int32)


def _fake_runs_to_masks(counts: Tensor, offsets: Tensor, height: int, width: int) -> Tensor:
    return counts.new_empty(offsets.shape[0] - 1, height, width, dtype=torch.bool)


if NATIVE_DEVICES:
    torch.library.register_fake("detkit::masks_to_runs", _fake_masks_to_runs)
    torch.library.register_fake("detkit::runs_to_masks", _fake_runs_to_masks)
