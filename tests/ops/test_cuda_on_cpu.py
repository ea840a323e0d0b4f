"""The CUDA kernels, thread by thread on the CPU (see cuda_on_cpu/), where they must do what the CPU kernels do: so
their indices, their sums and what their threads share are tested without a GPU, though neither races nor speed."""

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from random_regions import random_rois
from torch import Tensor

from detkit import ops
from detkit.ops.regions import memory_format_of
from detkit.ops.roi_align import roi_levels

ROOT = Path(__file__).parent.parent.parent
EMULATION = Path(__file__).parent / "cuda_on_cpu"
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    """The ops of csrc/cuda, to be called with tensors of the CPU."""
    compiler = os.environ.get("CXX", "c++")
    if shutil.which(compiler) is None:
        pytest.skip(f"needs the compiler {compiler!r}")
    if ops.backend() == "reference":
        pytest.skip("the native kernels were not built")
    folder, torch_folder = tmp_path_factory.mktemp("cuda_on_cpu"), Path(torch.__file__).parent
    flags = ["-std=c++20", "-O1", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-Wno-psabi", "-DUSE_CUDA"]
    # The ops get a name of their own, as the process has those of detkit already.
    flags += ["-Ddetkit=detkit_on_cpu", "-DTORCH_TARGET_VERSION=0x020b000000000000"]
    flags += [f"-I{EMULATION}", "-isystem", str(torch_folder / "include")]
    sources = [*(ROOT / "csrc" / "cuda").glob("*.cu"), ROOT / "csrc" / "library.cpp", EMULATION / "runtime.cpp"]
    objects = [folder / f"{source.name}.o" for source in sources]
    commands = [
        [compiler, "-x", "c++", "-c", str(source), "-o", str(result), *flags]
        for source, result in zip(sources, objects, strict=True)
    ]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(run, commands))
    library = folder / "cuda_on_cpu.so"
    link = ["-shared", "-Wl,-Bsymbolic", f"-L{torch_folder / 'lib'}", "-ltorch_cpu", "-o", str(library)]
    run([compiler, *map(str, objects), *link])
    torch.ops.load_library(library)
    return Kernels()


def run(command: list[str]) -> None:
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]


class Kernels:
    """`kernels.nms(...)` calls the CUDA kernel of nms."""

    def __getattr__(self, name: str):
        op = getattr(torch.ops.detkit_on_cpu, name).default
        return lambda *arguments: op._op_dk(torch._C.DispatchKey.CUDA, *arguments)


def random_boxes(count: int, seed: int, extent: float = 300, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator, dtype=dtype) * extent
    return torch.cat([corner, corner + 2 + torch.rand(count, 2, generator=generator, dtype=dtype) * 80], 1)


def gridded_boxes(count: int, seed: int, dtype: torch.dtype) -> Tensor:
    """Boxes on whole numbers, some without a size: many IoUs are exactly a threshold."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.randint(0, 40, (count, 2), generator=generator)
    return torch.cat([corner, corner + torch.randint(0, 8, (count, 2), generator=generator)], 1).to(dtype)


# 5000 boxes are more than a band, of which more than 512 stay.
@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 5000])
@pytest.mark.parametrize("dtype", DTYPES[:2])
@pytest.mark.parametrize("with_labels", [False, True])
def test_nms(kernels, with_labels, dtype, count):
    generator = torch.Generator().manual_seed(count)
    scores = torch.randint(0, 1000, (count,), generator=generator).to(dtype)
    labels = torch.randint(-1, 3, (count,), generator=generator) if with_labels else None
    for boxes in (random_boxes(count, 0, 3000, dtype), gridded_boxes(count, 1, dtype)):
        for threshold in (0.5,) if count > 1000 else (-0.1, 0.0, 0.3, 0.5, 1.0):
            expected = torch.ops.detkit.nms(boxes, scores, labels, threshold)
            assert torch.equal(kernels.nms(boxes, scores, labels, threshold), expected)
            for most in (0, 5, count + 3):
                kept, number = kernels.nms_padded(boxes, scores, labels, threshold, most)
                expected_kept, expected_number = torch.ops.detkit.nms_padded(boxes, scores, labels, threshold, most)
                assert torch.equal(kept, expected_kept)
                assert torch.equal(number, expected_number)


@pytest.mark.parametrize(("box_dtype", "score_dtype"), [DTYPES[:2], DTYPES[1::-1]])
def test_nms_of_boxes_and_scores_in_different_precision(kernels, box_dtype, score_dtype):
    scores = 1 + torch.rand(300, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 1e-7
    boxes, scores = random_boxes(300, 0).to(box_dtype), scores.to(score_dtype)
    assert torch.equal(kernels.nms(boxes, scores, None, 0.3), torch.ops.detkit.nms(boxes, scores, None, 0.3))


@pytest.mark.parametrize("unit", [1e-22, 1e-3, 1e18, 1e30])
def test_nms_of_boxes_that_underflow_or_overflow(kernels, unit):
    boxes = torch.cat([gridded_boxes(300, 0, torch.float32), gridded_boxes(30, 1, torch.float32).flip(1)]) * unit
    boxes[::50, 0] = float("nan")
    boxes[1::50, 2] = float("inf")
    scores = torch.rand(330, generator=torch.Generator().manual_seed(0))
    for threshold in (-0.1, 0.0, 0.3, 0.5):
        expected = torch.ops.detkit.nms(boxes, scores, None, threshold)
        assert torch.equal(kernels.nms(boxes, scores, None, threshold), expected)


def test_nms_refuses_nan_or_leaves_it_out(kernels):
    boxes, scores = random_boxes(200, 0), torch.rand(200, generator=torch.Generator().manual_seed(0))
    scores[::7] = float("nan")
    with pytest.raises(RuntimeError, match="scores must not be NaN"):
        kernels.nms(boxes, scores, None, 0.5)
    with pytest.raises(RuntimeError, match="scores must not be NaN"):
        kernels.soft_nms(boxes, scores, None, 0.5, 0.5, "linear", 0.1)
    kept, number = kernels.nms_padded(boxes, scores, None, 0.5, 200)
    good = torch.where(~scores.isnan())[0]
    assert torch.equal(kept[:number], good[ops.nms(boxes[good], scores[good], 0.5)])


@pytest.mark.parametrize("count", [0, 1, 60, 600])
@pytest.mark.parametrize("method", ["linear", "gaussian", "hard"])
@pytest.mark.parametrize("dtype", DTYPES[:2])
def test_soft_nms(kernels, dtype, method, count):
    generator = torch.Generator().manual_seed(count)
    # Many are equal. Of 600 boxes most are far below the threshold: each that stays takes a while here.
    scores = torch.randint(-90 if count == 600 else 0, 10, (count,), generator=generator).to(dtype) / 10
    boxes = random_boxes(count, 0, 100, dtype)
    for labels in (None, torch.randint(-1, 3, (count,), generator=generator)):
        arguments = (boxes, scores, labels, 0.3, 0.5, method, 0.05)
        kept, kept_scores = kernels.soft_nms(*arguments)
        expected, expected_scores = torch.ops.detkit.soft_nms(*arguments)
        assert torch.equal(kept, expected)
        torch.testing.assert_close(kept_scores, expected_scores, rtol=1e-6, atol=0)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (1, 1), (17, 1025), (40, 300)])
@pytest.mark.parametrize("mode", ["iou", "giou", "diou", "ciou"])
@pytest.mark.parametrize("dtype", DTYPES[:2])
def test_box_iou(kernels, dtype, mode, shape):
    boxes1, boxes2 = random_boxes(shape[0], 0, dtype=dtype), random_boxes(shape[1], 1, dtype=dtype)
    tolerance = {"rtol": 1e-6, "atol": 1e-6}
    torch.testing.assert_close(
        kernels.box_iou(boxes1, boxes2, mode), torch.ops.detkit.box_iou(boxes1, boxes2, mode), **tolerance
    )
    if shape[1] > 1000:  # a block for each box takes its time here
        return
    weights = torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(2))
    gradients = kernels.box_iou_backward(weights, boxes1, boxes2, mode)
    expected = torch.ops.detkit.box_iou_backward(weights, boxes1, boxes2, mode)
    torch.testing.assert_close(gradients, expected, rtol=1e-4, atol=1e-5)


def test_box_iou_of_more_rows_than_blocks(kernels):
    boxes1, boxes2 = random_boxes(8500, 0), random_boxes(2, 1)
    torch.testing.assert_close(kernels.box_iou(boxes1, boxes2, "iou"), torch.ops.detkit.box_iou(boxes1, boxes2, "iou"))


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("counts", [[3, 0, 5], [150, 140], [0], []])
def test_best_overlaps(kernels, counts, flat):
    """More objects than a block holds, more candidates than it has threads."""
    boxes, objects = gridded_boxes(600, 0, torch.float32), gridded_boxes(sum(counts), 1, torch.float32)
    bounds = torch.tensor([0, *counts]).cumsum(0)
    images = torch.randint(-1, len(counts) + 1, (600,), generator=torch.Generator().manual_seed(0))
    for measure in ("iou", "coverage"):
        for of_objects in (False, True):
            arguments = (boxes, images if flat else None, objects, bounds, measure, of_objects)
            expected = torch.ops.detkit.best_overlaps(*arguments)
            for result, of_cpu in zip(kernels.best_overlaps(*arguments), expected, strict=True):
                assert torch.equal(result, of_cpu)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("sampling_ratio", "aligned"), [(-1, False), (0, True), (2, True), (10, False)])
@pytest.mark.parametrize(("channels", "output_size"), [(3, (2, 5)), (70, (7, 6))])
def test_roi_align(kernels, channels, output_size, sampling_ratio, aligned, dtype, channels_last):
    """Ten samples to a bin, and some adaptive samplings, are more than a block keeps; 70 channels more than a run."""
    generator = torch.Generator().manual_seed(0)
    memory_format = memory_format_of(channels_last)
    sizes, scales = [(24, 32), (12, 16)], [1 / 4, 1 / 8]
    maps = [
        torch.randn(2, channels, *size, generator=generator).to(dtype).contiguous(memory_format=memory_format)
        for size in sizes
    ]
    rois = random_rois(12, 2, 120, seed=1, dtype=torch.float64 if dtype == torch.float64 else torch.float32)
    levels = roi_levels(rois, scales, 40, 3)
    assert set(levels.tolist()) == {0, 1}
    crop = (maps, rois, levels, scales, *output_size, sampling_ratio, aligned, channels_last)
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-4}.get(dtype, 2e-2)
    tolerance = {"rtol": tolerance, "atol": tolerance}
    crops = kernels.roi_align(*crop)
    assert crops.is_contiguous(memory_format=memory_format)
    torch.testing.assert_close(crops, torch.ops.detkit.roi_align(*crop), **tolerance)
    gradient = torch.randn(crops.shape, generator=generator).to(dtype).contiguous(memory_format=memory_format)
    heights, widths = zip(*sizes, strict=True)
    spread = (gradient, rois, levels, scales, 2, heights, widths, sampling_ratio, aligned, channels_last)
    torch.testing.assert_close(
        kernels.roi_align_backward(*spread), torch.ops.detkit.roi_align_backward(*spread), **tolerance
    )


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("channels", "output_size"), [(3, (2, 5)), (70, (7, 6))])
def test_roi_pool(kernels, channels, output_size, dtype, channels_last):
    generator = torch.Generator().manual_seed(0)
    memory_format = memory_format_of(channels_last)
    # Few values, so that many bins have several greatest.
    maps = torch.randint(-3, 4, (2, channels, 13, 17), generator=generator).to(dtype)
    maps = maps.contiguous(memory_format=memory_format)
    rois = random_rois(20, 2, 120, seed=1, dtype=torch.float64 if dtype == torch.float64 else torch.float32)
    rois[3, 1] = float("nan")
    crops, cells = kernels.roi_pool(maps, rois, 1 / 8, *output_size, channels_last)
    expected, expected_cells = torch.ops.detkit.roi_pool(maps, rois, 1 / 8, *output_size, channels_last)
    assert crops.is_contiguous(memory_format=memory_format)
    assert torch.equal(crops, expected)
    assert torch.equal(cells, expected_cells)
    gradient = torch.randn(crops.shape, generator=generator).to(dtype).contiguous(memory_format=memory_format)
    spread = (gradient, cells, rois, 2, 13, 17, channels_last)
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5}.get(dtype, 2e-2)
    torch.testing.assert_close(
        kernels.roi_pool_backward(*spread),
        torch.ops.detkit.roi_pool_backward(*spread),
        rtol=tolerance,
        atol=tolerance,
    )


def test_no_regions(kernels):
    rois, levels = torch.zeros(0, 5), torch.zeros(0, dtype=torch.int64)
    maps = torch.zeros(2, 3, 8, 8)
    assert kernels.roi_pool(maps, rois, 1.0, 7, 7, False)[0].shape == (0, 3, 7, 7)
    crops = kernels.roi_align([maps], rois, levels, [1.0], 7, 7, 2, False, False)
    assert crops.shape == (0, 3, 7, 7)
    (gradient,) = kernels.roi_align_backward(crops, rois, levels, [1.0], 2, [8], [8], 2, False, False)
    assert torch.equal(gradient, maps)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(0, 5, 7), (3, 1, 1), (4, 13, 1), (2, 1, 9), (5, 31, 47), (3, 0, 4), (2, 4, 0)])
def test_masks_to_runs_and_back(kernels, shape, share):
    masks = torch.rand(shape, generator=torch.Generator().manual_seed(0)) < share
    counts, offsets = kernels.masks_to_runs(masks)
    expected_counts, expected_offsets = torch.ops.detkit.masks_to_runs(masks)
    assert torch.equal(counts, expected_counts)
    assert torch.equal(offsets, expected_offsets)
    assert torch.equal(kernels.runs_to_masks(counts, offsets, *shape[1:]), masks)


def test_runs_of_bytes_that_are_not_one(kernels):
    masks = torch.randint(0, 3, (2, 6, 5), generator=torch.Generator().manual_seed(1), dtype=torch.uint8) * 100
    assert torch.equal(kernels.masks_to_runs(masks)[0], torch.ops.detkit.masks_to_runs(masks)[0])


def test_runs_that_are_empty_within_a_mask(kernels):
    counts, offsets = torch.tensor([0, 3, 0, 0, 2, 1], dtype=torch.int32), torch.tensor([0, 6])
    expected = torch.ops.detkit.runs_to_masks(counts, offsets, 2, 3)
    assert torch.equal(kernels.runs_to_masks(counts, offsets, 2, 3), expected)


@pytest.mark.parametrize("fused", [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("dtype", DTYPES[:2])
def test_paste_masks(kernels, dtype, fused):
    """Images of other sizes, without masks, and without pixels, and boxes as high as the image."""
    generator = torch.Generator().manual_seed(0)
    counts, heights, widths = [4, 0, 9, 1, 2], [40, 10, 150, 0, 1], [50, 10, 90, 5, 3]
    masks = torch.rand(16, 14, 14, generator=generator, dtype=dtype)
    masks[1] = masks[5] = 1
    corners = torch.randint(-30, 180, (16, 2, 2), generator=generator).sort(dim=1).values
    boxes = corners.flatten(1)
    boxes[0], boxes[1], boxes[5], boxes[15] = (
        torch.tensor(box) for box in ([0, 0, -1, -1], [5, -30, 30, 70], [-50, -50, 200, 300], [-2, -2, 4, 4])
    )
    arguments = (masks, boxes, counts, heights, widths, 0.5, *fused)
    pasted = kernels.paste_masks(*arguments)
    assert torch.equal(pasted, torch.ops.detkit.paste_masks(*arguments))
    assert pasted.any()
    for runs, expected in zip(
        kernels.paste_masks_to_runs(*arguments), torch.ops.detkit.paste_masks_to_runs(*arguments), strict=True
    ):
        assert torch.equal(runs, expected)
    nothing = (masks[:0], boxes[:0], [0], [3], [4], 0.5, *fused)
    assert kernels.paste_masks(*nothing).shape == (0,)
    assert kernels.paste_masks_to_runs(*nothing)[1].tolist() == [0]
