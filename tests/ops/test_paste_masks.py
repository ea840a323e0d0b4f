"""Pasted masks, compared with torchvision's and pycocotools' to the bit."""

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pycocotools import mask as coco
from torch import Tensor
from torchvision.models.detection.roi_heads import paste_masks_in_image

from detkit.errors import InputError
from detkit.ops import (
    batched_paste_masks,
    batched_paste_masks_to_rle,
    paste_masks,
    paste_masks_to_rle,
    rle_to_masks,
)

SIZES = {  # of boxes in pixels, where torch's interpolation takes one way, the other, or either
    "small": (1, 50),
    "large": (100, 300),
    "mixed": (1, 130),
}


def random_masks(count: int, side: int, generator: torch.Generator) -> Tensor:
    """Smooth masks, steep ones, and noise, many pixels of which are near to a half."""
    noise = torch.rand(count, side, side, generator=generator)
    coarse = torch.rand(count, 1, 4, 4, generator=generator)
    smooth = F.interpolate(coarse, (side, side), mode="bilinear", align_corners=False)[:, 0]
    near_half = 0.5 + (noise - 0.5) * 1e-6
    kinds = torch.stack([noise, smooth, (smooth > 0.5).float(), near_half])
    return kinds[torch.arange(count) % 4, torch.arange(count)]


def random_boxes(count: int, name: str, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Boxes of which some reach over the image's border, but none is wholly outside: torchvision fails on those."""
    low, high = SIZES[name]
    sides = low + torch.rand(count, 2, generator=generator) * (high - low)
    center = torch.rand(count, 2, generator=generator) * torch.tensor([width, height])
    boxes = torch.cat([center - sides / 2, center + sides / 2], 1)
    boxes[::5] = boxes[::5].round()
    return boxes


def torchvision_pasted(masks: Tensor, boxes: Tensor, size: tuple[int, int], threshold: float = 0.5) -> Tensor:
    return (paste_masks_in_image(masks[:, None], boxes, size) > threshold)[:, 0]


def coco_encoded(masks: Tensor) -> list[dict]:
    return [coco.encode(np.asfortranarray(mask.numpy().astype(np.uint8))) for mask in masks]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("side", [1, 2, 7, 28, 56])
@pytest.mark.parametrize("sizes", SIZES)
def test_pixels_are_those_of_torchvision(implementation, sizes, side, dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    size = (150, 220)
    masks = random_masks(24, side, generator).to(dtype)
    boxes = random_boxes(24, sizes, *size, generator).to(dtype)
    expected = torchvision_pasted(masks, boxes, size)
    assert 0 < expected.sum() < expected.numel()
    assert torch.equal(paste_masks(masks, boxes, size), expected)
    assert paste_masks_to_rle(masks, boxes, size).to_coco() == coco_encoded(expected)


def check_against_torchvision() -> None:
    generator = torch.Generator().manual_seed(0)
    for sizes in SIZES:
        masks, boxes = random_masks(60, 28, generator), random_boxes(60, sizes, 200, 300, generator)
        assert torch.equal(paste_masks(masks, boxes, (200, 300)), torchvision_pasted(masks, boxes, (200, 300)))


@pytest.mark.parametrize("capability", ["default", "avx2"])
def test_the_arithmetic_follows_that_of_torch(native, capability):
    """torch has kernels for several machines, and chooses between them when a process starts."""
    script = f"import sys; sys.path.append({str(Path(__file__).parent)!r}); import test_paste_masks as tests; "
    environment = os.environ | {"ATEN_CPU_CAPABILITY": capability}
    subprocess.run([sys.executable, "-c", script + "tests.check_against_torchvision()"], env=environment, check=True)


@pytest.mark.parametrize("edge", ["left", "top", "right", "bottom", "columns", "rows", "everything"])
def test_masks_that_touch_the_border_of_the_image(implementation, edge):
    """A run may go on from the last row of a column into the first of the next."""
    x1, y1, x2, y2 = {
        "left": (-30, 10, 20, 40),
        "top": (10, -30, 30, 20),
        "right": (40, 10, 90, 40),
        "bottom": (10, 30, 30, 80),
        "columns": (10, -20, 30, 80),
        "rows": (-20, 10, 90, 30),
        "everything": (-99, -99, 180, 180),
    }[edge]
    size = (50, 60)
    masks = torch.cat([torch.ones(1, 28, 28), random_masks(8, 28, torch.Generator().manual_seed(0))])
    boxes = torch.tensor([[x1, y1, x2, y2]]).float().repeat(len(masks), 1)
    expected = torchvision_pasted(masks, boxes, size)
    assert expected.any()
    assert torch.equal(paste_masks(masks, boxes, size), expected)
    assert paste_masks_to_rle(masks, boxes, size).to_coco() == coco_encoded(expected)


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.99, 1.0])
def test_the_threshold_is_exclusive(implementation, threshold):
    generator = torch.Generator().manual_seed(0)
    masks, boxes = random_masks(12, 28, generator), random_boxes(12, "mixed", 100, 90, generator)
    masks[0] = threshold
    expected = torchvision_pasted(masks, boxes, (100, 90), threshold)
    assert torch.equal(paste_masks(masks, boxes, (100, 90), threshold), expected)
    assert torch.equal(rle_to_masks(paste_masks_to_rle(masks, boxes, (100, 90), threshold)), expected)


@pytest.mark.parametrize("at_once", [64, 2])
def test_all_images_of_a_batch_at_once(implementation, monkeypatch, at_once):
    """Images of other sizes, without masks, and without pixels; also those of a batch that is taken in parts."""
    monkeypatch.setattr(sys.modules["detkit.ops.paste_masks"], "_IMAGES_AT_ONCE", at_once)
    generator = torch.Generator().manual_seed(0)
    sizes, counts = [(90, 60), (40, 120), (1, 1), (0, 7), (200, 210), (30, 30)], [5, 0, 2, 1, 6, 0]
    masks, boxes = random_masks(14, 14, generator), random_boxes(14, "mixed", 60, 60, generator)
    pasted = batched_paste_masks(masks, boxes, counts, sizes)
    encoded = batched_paste_masks_to_rle(masks, boxes, counts, sizes)
    images = zip(masks.split(counts), boxes.split(counts), sizes, strict=True)
    for (some, of_some, size), pixels, runs in zip(images, pasted, encoded, strict=True):
        assert torch.equal(pixels, paste_masks(some, of_some, size))
        assert pixels.shape == (len(some), *size)
        assert runs.to_coco() == paste_masks_to_rle(some, of_some, size).to_coco()
    assert sum(int(pixels.sum()) for pixels in pasted) > 1000
    assert batched_paste_masks(masks[:0], boxes[:0], [], []) == []
    assert batched_paste_masks_to_rle(masks[:0], boxes[:0], [], []) == []


def test_by_hand(implementation):
    """A full mask of two cells in a box of four pixels covers nine with its border, of which five by five are more than
    half inside along each axis; in their corners the product of both is less."""
    pasted = paste_masks(torch.ones(1, 2, 2), torch.tensor([[4.0, 4, 8, 8]]), (12, 12))[0]
    expected = torch.zeros(12, 12, dtype=torch.bool)
    expected[4:9, 4:9] = True
    expected[[4, 4, 8, 8], [4, 8, 4, 8]] = False
    assert torch.equal(pasted, expected)


@pytest.mark.parametrize(
    "box",
    [
        (-50, 10, -10, 30),
        (70, 10, 90, 30),
        (10, -50, 30, -20),
        (10, 60, 30, 90),
        (20, 20, 5, 5),
        (math.nan, 0, 10, 10),
        (0, 0, math.inf, 10),
        (-1e30, 20, -1e29, 30),
    ],
)
def test_a_box_that_holds_no_pixel_gives_an_empty_mask(implementation, box):
    masks, boxes = torch.ones(1, 28, 28), torch.tensor([box], dtype=torch.float32)
    assert not paste_masks(masks, boxes, (50, 60)).any()
    assert paste_masks_to_rle(masks, boxes, (50, 60)).counts.tolist() == [50 * 60]


def test_a_box_far_larger_than_the_image(native):
    boxes = torch.tensor([[-1e9, -1e9, 1e9, 1e9]])
    assert paste_masks(torch.ones(1, 28, 28), boxes, (50, 60)).all()
    assert paste_masks_to_rle(torch.ones(1, 28, 28), boxes, (50, 60)).counts.tolist() == [0, 50 * 60]


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (0, 0), (5, 7)])
def test_nothing_to_paste(implementation, size):
    for count in (0, 2):
        masks, boxes = torch.ones(count, 28, 28), torch.zeros(count, 4)
        assert paste_masks(masks, boxes, size).shape == (count, *size)
        assert len(paste_masks_to_rle(masks, boxes, size)) == count


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(implementation, dtype):
    generator = torch.Generator().manual_seed(0)
    masks, boxes = random_masks(12, 28, generator).to(dtype), random_boxes(12, "mixed", 90, 80, generator).to(dtype)
    expected = torchvision_pasted(masks.float(), boxes.float(), (90, 80))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(paste_masks(masks, boxes, (90, 80)), expected)


def test_memory_need_not_be_contiguous(native):
    generator = torch.Generator().manual_seed(0)
    masks, boxes = random_masks(12, 28, generator), random_boxes(12, "mixed", 90, 80, generator)
    expected = paste_masks(masks, boxes, (90, 80))
    masks, boxes = masks.permute(2, 1, 0).contiguous().permute(2, 1, 0), boxes.T.contiguous().T
    assert torch.equal(paste_masks(masks, boxes, (90, 80)), expected)
    assert torch.equal(rle_to_masks(paste_masks_to_rle(masks, boxes, (90, 80))), expected)


def test_input_errors_name_the_tensor(implementation):
    masks, boxes = torch.ones(3, 28, 28), torch.zeros(3, 4)
    for paste in (paste_masks, paste_masks_to_rle):
        with pytest.raises(InputError, match=r"masks must have shape \(N, M, M\), got \(3, 1, 28, 28\)"):
            paste(masks[:, None], boxes, (5, 7))
        with pytest.raises(InputError, match=r"masks must be square and not empty, got \(3, 28, 14\)"):
            paste(masks[:, :, :14], boxes, (5, 7))
        with pytest.raises(InputError, match=r"masks must be square and not empty, got \(3, 0, 0\)"):
            paste(masks[:, :0, :0], boxes, (5, 7))
        with pytest.raises(InputError, match="masks must be floating point"):
            paste(masks.bool(), boxes, (5, 7))
        with pytest.raises(InputError, match=r"boxes must have shape \(3, 4\), got \(2, 4\)"):
            paste(masks, boxes[:2], (5, 7))
        with pytest.raises(InputError, match="image_size must be height and width"):
            paste(masks, boxes, (5, -7))
        for threshold in (-0.1, math.nan):
            with pytest.raises(InputError, match="threshold must not be negative"):
                paste(masks, boxes, (5, 7), threshold)
    for paste in (batched_paste_masks, batched_paste_masks_to_rle):
        with pytest.raises(InputError, match=r"counts must be one for each of 2 images and sum to 3, got \[1, 1\]"):
            paste(masks, boxes, [1, 1], [(5, 7), (5, 7)])


def test_the_kernels_refuse_boxes_beyond_any_image(native):
    masks = torch.ones(1, 28, 28)
    for edge in (2**31 + 1, -(2**62)):
        with pytest.raises(RuntimeError, match="boxes must be within"):
            torch.ops.detkit.paste_masks(masks, torch.tensor([[0, 0, edge, 5]]), [1], [5], [5], 0.5, True, True)


def test_operator_registration(native):
    masks, boxes = torch.rand(3, 28, 28), torch.tensor([[0, 0, 20, 20], [-5, 5, 9, 40], [60, 60, 70, 70]])
    for fused in (True, False):
        arguments = (masks, boxes, [2, 1], [30, 9], [40, 70], 0.5, fused, fused)
        torch.library.opcheck(torch.ops.detkit.paste_masks.default, arguments)
        torch.library.opcheck(torch.ops.detkit.paste_masks_to_runs.default, arguments)


def test_compiles_as_one_graph(native):
    generator = torch.Generator().manual_seed(0)
    masks, boxes = random_masks(12, 28, generator), random_boxes(12, "mixed", 90, 80, generator)
    compiled = torch.compile(lambda masks, boxes: paste_masks(masks, boxes, (90, 80)), fullgraph=True, backend="eager")
    assert torch.equal(compiled(masks, boxes), paste_masks(masks, boxes, (90, 80)))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
@pytest.mark.parametrize("count", [0, 1, 40])
def test_cuda_equals_cpu(cuda, count, dtype):
    generator = torch.Generator().manual_seed(count)
    masks = torch.rand(count, 28, 28, generator=generator).to(dtype)
    boxes = torch.rand(count, 2, 2, generator=generator).sort(dim=1).values.flatten(1) * 320 - 10
    expected = paste_masks(masks, boxes, (200, 300))
    assert torch.equal(paste_masks(masks.to(cuda), boxes.to(cuda), (200, 300)).cpu(), expected)
    encoded = paste_masks_to_rle(masks.to(cuda), boxes.to(cuda), (200, 300))
    assert torch.equal(rle_to_masks(encoded), expected)
