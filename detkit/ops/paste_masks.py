"""Pasting the masks of a mask head, a small square per box, into the image."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from detkit.errors import InputError
from detkit.ops.checks import as_geometry, check_floating, check_same_device, check_shape
from detkit.ops.library import NATIVE_DEVICES, is_native
from detkit.ops.masks import RunLengths, masks_to_rle
from detkit.ops.masks.ragged import fake_rows

# The most pixels that masks on a GPU take together before they are encoded.
_PIXELS_AT_ONCE = 2**27


def _torch_fuses(pixels: int) -> bool:
    """Whether torch's interpolation to so many pixels uses a fused multiply-add, which rounds once instead of twice."""
    # Interpolating between 0 and 1 returns the sampling positions themselves, which differ in the last bit.
    cells = torch.tensor([[0.0, 1.0]] * 2, dtype=torch.float32, device="cpu")
    given = F.interpolate(cells[None, None], (2, pixels), mode="bilinear", align_corners=False)[0, 0, 0]
    centers = torch.arange(pixels, dtype=torch.float32, device="cpu") + 0.5
    rounded_twice = (centers * (2 / torch.tensor(pixels, dtype=torch.float32, device="cpu")) - 0.5).clamp(0, 1)
    return not torch.equal(given, rounded_twice)


# How torch rounds, to be reproduced to the bit: in general, and sampling positions in results computed in two steps.
_ROUNDING = _torch_fuses(100), _torch_fuses(200)


def paste_masks(masks: Tensor, boxes: Tensor, image_size: tuple[int, int], threshold: float = 0.5) -> Tensor:
    """Resize every mask to its box and threshold it (He et al. 2017, section 3.1).

    The pixels are those of torchvision's ``paste_masks_in_image(...) > threshold`` on the CPU: a mask is padded with
    one zero, the box grows accordingly, its corners are truncated to whole pixels, and the mask is interpolated
    bilinearly.

    Args:
        masks: ``(N, M, M)`` floating point, probabilities. Computed in float32; float64 stays float64.
        boxes: ``(N, 4)`` floating point, ``x1 y1 x2 y2`` in pixels. They are clipped to the image; a box that is not
            finite covers no pixel.
        image_size: height and width of the image in pixels.
        threshold: a pixel is inside if its probability is greater than this; not negative.

    Returns:
        bool ``(N, H, W)`` on the device of `masks`.

    Raises:
        InputError: a shape, dtype, device or the threshold does not fit.
    """
    masks, pixel_boxes, (height, width) = _checked(masks, boxes, image_size, threshold)
    if is_native(masks.device):
        pasted: Tensor = torch.ops.detkit.paste_masks(masks, pixel_boxes, height, width, threshold, *_ROUNDING)
        return pasted
    return paste_masks_reference(masks, pixel_boxes, height, width, threshold)


def paste_masks_to_rle(masks: Tensor, boxes: Tensor, image_size: tuple[int, int], threshold: float = 0.5) -> RunLengths:
    """`paste_masks`, run-length encoded. On the CPU only the pixels in the boxes are computed.

    Arguments and errors are those of `paste_masks`. Masks on a GPU are pasted and encoded there, in chunks.
    """
    masks, pixel_boxes, (height, width) = _checked(masks, boxes, image_size, threshold)
    if masks.device.type != "cpu":
        count = max(1, _PIXELS_AT_ONCE // max(1, height * width))
        chunks = zip(torch.split(masks, count), torch.split(boxes, count), strict=True)
        encoded = [masks_to_rle(paste_masks(some, of_some, image_size, threshold)) for some, of_some in chunks]
        return RunLengths.concatenated(encoded, height, width)
    if is_native(masks.device):
        counts, offsets = torch.ops.detkit.paste_masks_to_runs(masks, pixel_boxes, height, width, threshold, *_ROUNDING)
        return RunLengths(counts, offsets, height, width)
    return masks_to_rle(paste_masks_reference(masks, pixel_boxes, height, width, threshold))


def paste_masks_reference(masks: Tensor, pixel_boxes: Tensor, height: int, width: int, threshold: float) -> Tensor:
    """`paste_masks` in plain torch; `pixel_boxes` ``(N, 4)`` int64 are those of the padded masks."""
    images = torch.zeros(len(masks), height, width, dtype=torch.bool, device=masks.device)
    for image, mask, (x1, y1, x2, y2) in zip(images, F.pad(masks, (1,) * 4), pixel_boxes.tolist(), strict=True):
        left, top, right, bottom = max(x1, 0), max(y1, 0), min(x2 + 1, width), min(y2 + 1, height)
        if left >= right or top >= bottom:
            continue
        size = (y2 - y1 + 1, x2 - x1 + 1)
        stretched = F.interpolate(mask[None, None], size, mode="bilinear", align_corners=False)[0, 0]
        image[top:bottom, left:right] = stretched[top - y1 : bottom - y1, left - x1 : right - x1] > threshold
    return images


def _checked(
    masks: Tensor, boxes: Tensor, image_size: tuple[int, int], threshold: float
) -> tuple[Tensor, Tensor, tuple[int, int]]:
    """The masks in the dtype of the computation, the boxes in whole pixels, and the size of the image."""
    check_shape("masks", masks, ("N", "M", "M"))
    check_floating("masks", masks)
    if masks.shape[1] == 0 or masks.shape[1] != masks.shape[2]:
        raise InputError(f"masks must be square and not empty, got {tuple(masks.shape)}")
    check_shape("boxes", boxes, (masks.shape[0], 4))
    check_floating("boxes", boxes)
    check_same_device(masks=masks, boxes=boxes)
    if len(image_size) != 2 or min(image_size) < 0:
        raise InputError(f"image_size must be height and width, got {tuple(image_size)}")
    if math.isnan(threshold) or threshold < 0:
        raise InputError(f"threshold must not be negative, got {threshold}")
    pixel_boxes = _pixel_boxes(as_geometry(boxes), masks.shape[1])
    height, width = image_size
    return as_geometry(masks), pixel_boxes, (height, width)


def _pixel_boxes(boxes: Tensor, side: int) -> Tensor:
    """The first and last pixels ``(N, 4)`` that masks of `side` cells cover once padded by one cell."""
    x1, y1, x2, y2 = boxes.unbind(1)
    scale = (side + 2) / side
    half_width, half_height = (x2 - x1) * 0.5 * scale, (y2 - y1) * 0.5 * scale
    x, y = (x2 + x1) * 0.5, (y2 + y1) * 0.5
    grown = torch.stack([x - half_width, y - half_height, x + half_width, y + half_height], 1)
    empty = grown.new_tensor([0, 0, -1, -1])
    grown = torch.where(grown.isfinite().all(1, keepdim=True), grown, empty)
    return grown.clamp(-(2**31), 2**31).to(torch.int64)


def _fake_paste_masks(
    masks: Tensor, boxes: Tensor, height: int, width: int, threshold: float, fused: bool, fused_places: bool = True
) -> Tensor:
    return masks.new_empty(masks.shape[0], height, width, dtype=torch.bool)


def _fake_paste_masks_to_runs(
    masks: Tensor, boxes: Tensor, height: int, width: int, threshold: float, fused: bool, fused_places: bool = True
) -> tuple[Tensor, Tensor]:
    return fake_rows(masks, masks.shape[0], torch.int32)


if NATIVE_DEVICES:
    torch.library.register_fake("detkit::paste_masks", _fake_paste_masks)
    torch.library.register_fake("detkit::paste_masks_to_runs", _fake_paste_masks_to_runs)
