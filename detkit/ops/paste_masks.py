"""Pasting the masks of a mask head, a small square per box, into the image."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from detkit.errors import InputError
from detkit.ops.checks import as_geometry, check_floating, check_same_device, check_shape
from detkit.ops.library import NATIVE_DEVICES, is_native
from detkit.ops.masks import RunLengths, masks_to_rle
from detkit.ops.masks.ragged import fake_rows, rows_on_cpu

# The most images whose sizes a CUDA kernel takes.
_IMAGES_AT_ONCE = 64


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
    (pasted,) = batched_paste_masks(masks, boxes, [len(masks)], [image_size], threshold)
    return pasted


def batched_paste_masks(
    masks: Tensor, boxes: Tensor, counts: Sequence[int], image_sizes: Sequence[tuple[int, int]], threshold: float = 0.5
) -> list[Tensor]:
    """`paste_masks` of all images of a batch at once.

    Args:
        masks: ``(N, M, M)`` floating point, probabilities; those of the first image, then those of the next.
        boxes: ``(N, 4)`` floating point, ``x1 y1 x2 y2`` in pixels of the image of each mask.
        counts: the number of masks of each image; they sum to N.
        image_sizes: height and width of each image in pixels.
        threshold: as in `paste_masks`.

    Returns:
        For each image bool ``(count, H, W)`` on the device of `masks`.

    Raises:
        InputError: a shape, dtype, device or the threshold does not fit, or `counts` do not sum to N.
    """
    masks, pixel_boxes, sizes = _checked(masks, boxes, counts, image_sizes, threshold)
    results: list[Tensor] = []
    for some, of_some, some_counts, some_sizes in _parts(masks, pixel_boxes, counts, sizes):
        if is_native(masks.device):
            heights, widths = _heights_and_widths(some_sizes)
            pixels = torch.ops.detkit.paste_masks(some, of_some, some_counts, heights, widths, threshold, *_ROUNDING)
        else:
            pixels = batched_paste_masks_reference(some, of_some, some_counts, some_sizes, threshold)
        shapes = [(count, *size) for count, size in zip(some_counts, some_sizes, strict=True)]
        parts = torch.split(pixels, [count * height * width for count, height, width in shapes])
        results += [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
    return results


def paste_masks_to_rle(masks: Tensor, boxes: Tensor, image_size: tuple[int, int], threshold: float = 0.5) -> RunLengths:
    """`paste_masks`, run-length encoded. With native kernels only the pixels in the boxes are computed.

    Arguments and errors are those of `paste_masks`. Masks on a GPU are encoded there; the runs are copied to the CPU.
    """
    (encoded,) = batched_paste_masks_to_rle(masks, boxes, [len(masks)], [image_size], threshold)
    return encoded


def batched_paste_masks_to_rle(
    masks: Tensor, boxes: Tensor, counts: Sequence[int], image_sizes: Sequence[tuple[int, int]], threshold: float = 0.5
) -> list[RunLengths]:
    """`paste_masks_to_rle` of all images of a batch at once: arguments and errors are those of `batched_paste_masks`.

    On a GPU this waits twice, however many images there are: for the number of runs, and for the runs.
    """
    masks, pixel_boxes, sizes = _checked(masks, boxes, counts, image_sizes, threshold)
    results: list[RunLengths] = []
    for some, of_some, some_counts, some_sizes in _parts(masks, pixel_boxes, counts, sizes):
        if not is_native(masks.device):
            pixels = batched_paste_masks_reference(some, of_some, some_counts, some_sizes, threshold)
            results += _encoded(pixels, some_counts, some_sizes)
            continue
        heights, widths = _heights_and_widths(some_sizes)
        runs = torch.ops.detkit.paste_masks_to_runs(some, of_some, some_counts, heights, widths, threshold, *_ROUNDING)
        results += _split_runs(*rows_on_cpu(*runs), some_counts, some_sizes)
    return results


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


def batched_paste_masks_reference(
    masks: Tensor, pixel_boxes: Tensor, counts: Sequence[int], image_sizes: Sequence[tuple[int, int]], threshold: float
) -> Tensor:
    """`batched_paste_masks` in plain torch: the pixels of all images, bool ``(P,)``."""
    images = zip(torch.split(masks, list(counts)), torch.split(pixel_boxes, list(counts)), image_sizes, strict=True)
    pasted = [paste_masks_reference(some, of_some, *size, threshold).flatten() for some, of_some, size in images]
    return torch.cat([masks.new_zeros(0, dtype=torch.bool), *pasted])


def _checked(
    masks: Tensor,
    boxes: Tensor,
    counts: Sequence[int],
    image_sizes: Sequence[tuple[int, int]],
    threshold: float,
) -> tuple[Tensor, Tensor, list[tuple[int, int]]]:
    """The masks in the dtype of the computation, the boxes in whole pixels, and the sizes of the images."""
    check_shape("masks", masks, ("N", "M", "M"))
    check_floating("masks", masks)
    if masks.shape[1] == 0 or masks.shape[1] != masks.shape[2]:
        raise InputError(f"masks must be square and not empty, got {tuple(masks.shape)}")
    check_shape("boxes", boxes, (masks.shape[0], 4))
    check_floating("boxes", boxes)
    check_same_device(masks=masks, boxes=boxes)
    if len(counts) != len(image_sizes) or sum(counts) != masks.shape[0]:
        raise InputError(
            f"counts must be one for each of {len(image_sizes)} images and sum to {masks.shape[0]}, got {list(counts)}"
        )
    for size in image_sizes:
        if len(size) != 2 or min(size) < 0:
            raise InputError(f"image_size must be height and width, got {tuple(size)}")
    if math.isnan(threshold) or threshold < 0:
        raise InputError(f"threshold must not be negative, got {threshold}")
    pixel_boxes = _pixel_boxes(as_geometry(boxes), masks.shape[1])
    return as_geometry(masks), pixel_boxes, [(height, width) for height, width in image_sizes]


def _parts(
    masks: Tensor, pixel_boxes: Tensor, counts: Sequence[int], sizes: list[tuple[int, int]]
) -> Iterator[tuple[Tensor, Tensor, list[int], list[tuple[int, int]]]]:
    """The masks, boxes, counts and sizes of as many images as a kernel takes; of most batches all."""
    if len(sizes) <= _IMAGES_AT_ONCE:
        yield masks, pixel_boxes, list(counts), sizes
        return
    start = 0
    for first in range(0, len(sizes), _IMAGES_AT_ONCE):
        some = list(counts[first : first + _IMAGES_AT_ONCE])
        end = start + sum(some)
        yield masks[start:end], pixel_boxes[start:end], some, sizes[first : first + _IMAGES_AT_ONCE]
        start = end


def _heights_and_widths(sizes: list[tuple[int, int]]) -> tuple[list[int], list[int]]:
    return [height for height, _ in sizes], [width for _, width in sizes]


def _encoded(pixels: Tensor, counts: list[int], sizes: list[tuple[int, int]]) -> Iterator[RunLengths]:
    """The masks of each image whose pixels are packed in `pixels`, encoded."""
    start = 0
    for count, (height, width) in zip(counts, sizes, strict=True):
        end = start + count * height * width
        yield masks_to_rle(pixels[start:end].view(count, height, width))
        start = end


def _split_runs(
    counts: Tensor, offsets: Tensor, mask_counts: list[int], sizes: list[tuple[int, int]]
) -> Iterator[RunLengths]:
    """The masks of each image out of the runs of those of all images."""
    if len(sizes) == 1:
        yield RunLengths(counts, offsets, *sizes[0])
        return
    first = 0
    for count, size in zip(mask_counts, sizes, strict=True):
        of_image = offsets[first : first + count + 1]
        yield RunLengths(counts[int(of_image[0]) : int(of_image[-1])], of_image - of_image[0], *size)
        first += count


def _pixel_boxes(boxes: Tensor, side: int) -> Tensor:
    """The first and last pixels ``(N, 4)`` that masks of `side` cells cover once padded by one cell."""
    x1, y1, x2, y2 = boxes.unbind(1)
    scale = (side + 2) / side
    half_width, half_height = (x2 - x1) * 0.5 * scale, (y2 - y1) * 0.5 * scale
    x, y = (x2 + x1) * 0.5, (y2 + y1) * 0.5
    grown = torch.stack([x - half_width, y - half_height, x + half_width, y + half_height], 1)
    grown = torch.where(grown.isfinite().all(1, keepdim=True), grown, -1)  # a box before the first pixel
    return grown.clamp(-(2**31), 2**31).to(torch.int64)


def _fake_paste_masks(
    masks: Tensor,
    boxes: Tensor,
    counts: list[int],
    heights: list[int],
    widths: list[int],
    threshold: float,
    fused: bool,
    fused_places: bool = True,
) -> Tensor:
    images = zip(counts, heights, widths, strict=True)
    return masks.new_empty(sum(count * height * width for count, height, width in images), dtype=torch.bool)


def _fake_paste_masks_to_runs(
    masks: Tensor,
    boxes: Tensor,
    counts: list[int],
    heights: list[int],
    widths: list[int],
    threshold: float,
    fused: bool,
    fused_places: bool = True,
) -> tuple[Tensor, Tensor]:
    return fake_rows(masks, masks.shape[0], torch.int32)


if NATIVE_DEVICES:
    torch.library.register_fake("detkit::paste_masks", _fake_paste_masks)
    torch.library.register_fake("detkit::paste_masks_to_runs", _fake_paste_masks_to_runs)
