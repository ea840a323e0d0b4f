"""The CUDA kernels, thread by thread on the CPU (see cuda_on_cpu/), where they must do what the CPU kernels do: so
their indices, their sums, what their threads share, the barriers between them and the alignment of vectors are tested
without a GPU, though not speed.

They are slow for the compiler; after a change of csrc/cuda, run them with ``pytest -m slow tests/ops``."""

import pytest
import torch
from emulated_kernels import CUDA_SOURCES, Kernels, built
from random_regions import random_rois
from torch import Tensor

from detkit import ops
from detkit.ops.regions import memory_format_of
from detkit.ops.roi_align import roi_levels

pytestmark = pytest.mark.slow
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


@pytest.fixture(scope="module")
def kernels(tmp_path_factory) -> Kernels:
    """The ops of csrc/cuda, to be called with tensors of the CPU."""
    sources = sorted(CUDA_SOURCES.glob("*.cu"))
    return built(tmp_path_factory.mktemp("cuda_on_cpu"), "detkit_on_cpu", sources, "-DDETKIT_VECTOR_ATOMICS=1")


@pytest.fixture(scope="module")
def older_kernels(tmp_path_factory) -> Kernels:
    """Those that differ on devices that can only add to one number at once."""
    sources = [CUDA_SOURCES / "roi_align_backward.cu"]
    return built(tmp_path_factory.mktemp("older"), "detkit_on_older_cpu", sources, "-DDETKIT_VECTOR_ATOMICS=0")


def random_boxes(count: int, seed: int, extent: float = 300, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator, dtype=dtype) * extent
    return torch.cat([corner, corner + 2 + torch.rand(count, 2, generator=generator, dtype=dtype) * 80], 1)


def gridded_boxes(count: int, seed: int, dtype: torch.dtype) -> Tensor:
    """Boxes on whole numbers, some without a size: many IoUs are exactly a threshold."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.randint(0, 40, (count, 2), generator=generator)
    return torch.cat([corner, corner + torch.randint(0, 8, (count, 2), generator=generator)], 1).to(dtype)


def equals_the_cpu(kernels, name: str, *arguments) -> None:
    """The op's CUDA kernel and its CPU kernel give equal integers."""
    results, expected = getattr(kernels, name)(*arguments), getattr(torch.ops.detkit, name)(*arguments)
    for one, other in zip(*[[x] if isinstance(x, Tensor) else x for x in (results, expected)], strict=True):
        assert torch.equal(one, other)


# A word is of 64 boxes, a band of 4096.
@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 1000, 4095, 4096, 4097, 8193])
@pytest.mark.parametrize("with_labels", [False, True])
def test_nms(kernels, with_labels, count):
    generator = torch.Generator().manual_seed(count)
    scores = torch.randint(0, 1000, (count,), generator=generator).float()
    labels = torch.randint(-1, 3, (count,), generator=generator) if with_labels else None
    is_large, dtype = count > 1000, DTYPES[count % 2]
    spread = random_boxes(count, 0, 3000, dtype)
    for boxes in [spread] if is_large else [spread, gridded_boxes(count, 1, dtype)]:
        for threshold in (0.5,) if is_large else (-0.1, 0.0, 0.3, 0.5, 1.0):
            equals_the_cpu(kernels, "nms", boxes, scores, labels, threshold)
            for most in (count + 3,) if is_large else (0, 5, count + 3):
                equals_the_cpu(kernels, "nms_padded", boxes, scores, labels, threshold, most)


# How many boxes each group has. The last ones go on after a band, one or several times, and begin anywhere in a word.
GROUPS = {
    "none": [],
    "one of one box": [1],
    "single boxes": [1] * 300,
    "small ones": [3, 0, 70, 1, 64, 63, 65, 0, 129, 7],
    "whole words": [64, 128, 64],
    "one of a band and some": [30, 4100, 200],
    "all sizes": [10, 5000, 1, 3000, 4200, 60],
    "large ones": [4096, 4096, 100],
    "one of several bands": [37, 9000],
}


@pytest.mark.parametrize("groups", GROUPS.values(), ids=GROUPS)
def test_nms_of_groups(kernels, groups):
    """Of several seeds where it is quick; some groups are of no image."""
    is_large = sum(groups) > 1000
    for seed in range(1 if is_large else 5):
        generator = torch.Generator().manual_seed(seed)
        group = torch.repeat_interleave(torch.arange(len(groups)), torch.tensor(groups, dtype=torch.int64))
        group = group[torch.randperm(len(group), generator=generator)]
        scores = torch.rand(len(group), generator=generator).mul(500).round()
        boxes = random_boxes(len(group), seed, 1500)
        equals_the_cpu(kernels, "nms", boxes, scores, group, 0.3)
        images, labels = torch.tensor([0, 2, -1, 1])[group % 4], group // 4 - 1
        for most in (40,) if is_large else (1, 40, 3000):
            equals_the_cpu(kernels, "nms_padded", boxes, scores, group, 0.3, most)
            equals_the_cpu(kernels, "batched_nms_padded", boxes, scores, images, labels, 0.3, 3, most)
        if is_large:
            continue
        equals_the_cpu(kernels, "batched_nms_padded", boxes, scores, images, None, 0.3, 3, 40)
        equals_the_cpu(kernels, "batched_nms_padded", boxes, scores, images, labels, 0.3, 0, 40)


@pytest.mark.parametrize(("threshold", "count"), [(0.0, 200), (0.59, 4300), (0.6, 200), (1.0, 200)])
def test_nms_of_chains_and_of_equal_boxes(kernels, threshold, count):
    """In a chain each box overlaps the next by 0.6, so that every other one stays, whatever word or band it is in."""
    start = torch.arange(count)[:, None] * 2.0
    chain = torch.cat([start, start * 0, start + 8, start * 0 + 8], 1)
    equal = torch.tensor([[3.0, 4, 9, 11]]).expand(count, 4)
    scores, groups = torch.arange(count, 0, -1).float(), torch.arange(count) // 90
    for boxes in (chain, equal):
        equals_the_cpu(kernels, "nms", boxes, scores, None, threshold)
        equals_the_cpu(kernels, "nms", boxes, scores, groups, threshold)
    if threshold == 0.59:
        assert kernels.nms(chain, scores, None, threshold).tolist() == list(range(0, count, 2))
    assert len(kernels.nms(equal, scores, None, threshold)) == (count if threshold == 1 else 1)


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
    good = torch.where(~scores.isnan())[0]
    kept, number = kernels.nms_padded(boxes, scores, None, 0.5, 200)
    assert torch.equal(kept[:number], good[ops.nms(boxes[good], scores[good], 0.5)])
    labels = torch.arange(200) % 2
    (kept,), (number,) = kernels.batched_nms_padded(boxes, scores, labels * 0, labels, 0.5, 1, 200)
    assert torch.equal(kept[:number], good[ops.batched_nms(boxes[good], scores[good], labels[good], 0.5)])


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


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (1, 1), (17, 1025), (17, 1028), (40, 300)])
@pytest.mark.parametrize("mode", ["iou", "giou", "diou", "ciou"])
@pytest.mark.parametrize("dtype", DTYPES[:2])
def test_box_iou(kernels, dtype, mode, shape):
    boxes1, boxes2 = random_boxes(shape[0], 0, dtype=dtype), random_boxes(shape[1], 1, dtype=dtype)
    torch.testing.assert_close(
        kernels.box_iou(boxes1, boxes2, mode), torch.ops.detkit.box_iou(boxes1, boxes2, mode), rtol=1e-6, atol=1e-6
    )
    if shape[1] > 1000:  # a block for each box takes its time here
        return
    weights = torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(2))
    gradients = kernels.box_iou_backward(weights, boxes1, boxes2, mode)
    expected = torch.ops.detkit.box_iou_backward(weights, boxes1, boxes2, mode)
    torch.testing.assert_close(gradients, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES[:2])
@pytest.mark.parametrize("count", [63, 64])
def test_the_iou_is_that_of_the_cpu_to_the_last_bit(kernels, count, dtype):
    """Of boxes without a size, inverted, infinite and none at all too."""
    boxes = torch.cat([random_boxes(20, 0, 60, dtype), gridded_boxes(count - 20, 1, dtype)])
    boxes[3:6] = boxes[3:6, [2, 3, 0, 1]]
    boxes[6, 0], boxes[7, 2], boxes[8, 3] = float("nan"), float("inf"), -float("inf")
    for unit in (1.0, 1e-22, 1e18):
        overlaps = kernels.box_iou(boxes * unit, boxes * unit, "iou")
        assert torch.equal(overlaps, torch.ops.detkit.box_iou(boxes * unit, boxes * unit, "iou"))


def test_box_iou_of_more_rows_than_blocks(kernels):
    boxes1, boxes2 = random_boxes(16 * 4096 + 3, 0), random_boxes(1, 1)
    overlaps = torch.ops.detkit.box_iou(boxes1, boxes2, "iou")
    torch.testing.assert_close(kernels.box_iou(boxes1, boxes2, "iou"), overlaps)


SIZES, SCALES = [(24, 32), (12, 16)], [1 / 4, 1 / 8]  # of the maps of a pyramid
RULE = 40.0, 3  # a region of 40 pixels belongs to the second


def tolerance_of(dtype: torch.dtype) -> dict[str, float]:
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-4}.get(dtype, 2e-2)
    return {"rtol": tolerance, "atol": tolerance}


def maps_and_rois(
    channels: int, dtype: torch.dtype, channels_last: bool, rois: int = 12
) -> tuple[list[Tensor], Tensor]:
    generator = torch.Generator().manual_seed(0)
    memory_format = memory_format_of(channels_last)
    maps = [
        torch.randn(2, channels, *size, generator=generator).to(dtype).contiguous(memory_format=memory_format)
        for size in SIZES
    ]
    return maps, random_rois(rois, 2, 120, seed=1, dtype=torch.float64 if dtype == torch.float64 else torch.float32)


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
@pytest.mark.parametrize(("channels", "output_size"), [(3, (2, 5)), (70, (7, 6)), (136, (7, 3))])
def test_roi_align(kernels, channels, output_size, sampling_ratio, aligned, dtype, channels_last):
    """Ten samples to a bin, and some adaptive samplings, are more than a block keeps. 70 channels are no whole number
    of vectors, 136 are, and more than a block takes of float32."""
    maps, rois = maps_and_rois(channels, dtype, channels_last)
    memory_format = memory_format_of(channels_last)
    assert set(roi_levels(rois, SCALES, *RULE).tolist()) == {0, 1}
    crop = (maps, rois, SCALES, *RULE, *output_size, sampling_ratio, aligned, channels_last)
    crops = kernels.roi_align(*crop)
    assert crops.is_contiguous(memory_format=memory_format)
    torch.testing.assert_close(crops, torch.ops.detkit.roi_align(*crop), **tolerance_of(dtype))
    gradient = torch.randn(crops.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    gradient = gradient.contiguous(memory_format=memory_format)
    spread = (gradient, rois, SCALES, *RULE, 2, *zip(*SIZES, strict=True), sampling_ratio, aligned, channels_last)
    spread_gradients = kernels.roi_align_backward(*spread)
    assert all(one.is_contiguous(memory_format=memory_format) for one in spread_gradients)
    torch.testing.assert_close(spread_gradients, torch.ops.detkit.roi_align_backward(*spread), **tolerance_of(dtype))


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", DTYPES[:2])
def test_roi_align_of_crops_that_are_turned_in_several_parts(kernels, dtype, channels_last):
    maps, rois = maps_and_rois(72, dtype, channels_last, rois=2)
    crop = (maps, rois, SCALES, *RULE, 14, 13, 2, False, channels_last)
    torch.testing.assert_close(kernels.roi_align(*crop), torch.ops.detkit.roi_align(*crop), **tolerance_of(dtype))


@pytest.mark.parametrize("dtype", DTYPES[:3])
def test_the_gradient_of_roi_align_without_atomics_of_vectors(older_kernels, kernels, dtype):
    _, rois = maps_and_rois(8, dtype, True)
    gradient = torch.randn(12, 8, 7, 7, generator=torch.Generator().manual_seed(0)).to(dtype)
    gradient = gradient.contiguous(memory_format=torch.channels_last)
    spread = (gradient, rois, SCALES, *RULE, 2, *zip(*SIZES, strict=True), 2, False, True)
    expected = kernels.roi_align_backward(*spread)
    for one, other in zip(older_kernels.roi_align_backward(*spread), expected, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("seed", range(3))
def test_roi_align_chooses_levels_as_the_reference(kernels, seed):
    """Regions without a size, inverted and not finite included, which no map but a constant one tells apart."""
    scales = [1 / 4, 1 / 8, 1 / 16, 1 / 32]
    rois = random_rois(100, 1, 900, seed)
    sides = torch.tensor([0.0, -3, 111.9, 112, 223.9, 224, 447.9, 448, 1e5, float("nan"), float("inf")])
    rois[: len(sides), 1:] = torch.stack([0 * sides.nan_to_num(), 0 * sides.nan_to_num(), sides, sides], 1)
    maps = [
        torch.full((1, 4, 800, 800), float(level)).contiguous(memory_format=torch.channels_last) for level in range(4)
    ]
    rois[len(sides) :, 1:].clamp_(0, 790)
    inside = (rois[:, 1:] >= 0).all(1) & (rois[:, 1:] <= 800).all(1)
    for run in (kernels.roi_align, torch.ops.detkit.roi_align):
        crops = run(maps, rois, scales, 224.0, 4, 1, 1, 1, False, True)[:, 0, 0, 0]
        assert torch.equal(crops[inside].round().long(), roi_levels(rois, scales, 224, 4)[inside])


# 200 x 200 are more cells than an int16 numbers.
@pytest.mark.parametrize("size", [(13, 17), (200, 200)])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("channels", "output_size"), [(3, (2, 5)), (72, (7, 6))])
def test_roi_pool(kernels, channels, output_size, dtype, channels_last, size):
    generator = torch.Generator().manual_seed(0)
    memory_format = memory_format_of(channels_last)
    # Few values, so that many bins have several greatest.
    maps = torch.randint(-3, 4, (2, channels, *size), generator=generator).to(dtype)
    maps = maps.contiguous(memory_format=memory_format)
    extent = 8 * max(size)
    rois = random_rois(10, 2, extent, seed=1, dtype=torch.float64 if dtype == torch.float64 else torch.float32)
    rois[3, 1] = float("nan")
    crops, cells = kernels.roi_pool(maps, rois, 1 / 8, *output_size, channels_last)
    expected, expected_cells = torch.ops.detkit.roi_pool(maps, rois, 1 / 8, *output_size, channels_last)
    assert crops.is_contiguous(memory_format=memory_format)
    assert torch.equal(crops, expected)
    assert cells.dtype == (torch.int32 if size == (200, 200) else torch.int16)
    assert torch.equal(cells.int(), expected_cells)
    gradient = torch.randn(crops.shape, generator=generator).to(dtype).contiguous(memory_format=memory_format)
    settings = (rois, 2, *size, channels_last)
    spread = kernels.roi_pool_backward(gradient, cells, *settings)
    assert spread.is_contiguous(memory_format=memory_format)
    torch.testing.assert_close(
        spread,
        torch.ops.detkit.roi_pool_backward(gradient, expected_cells, *settings),
        **tolerance_of(dtype),
    )


def test_no_regions(kernels):
    rois = torch.zeros(0, 5)
    maps = torch.zeros(2, 3, 8, 8)
    assert kernels.roi_pool(maps, rois, 1.0, 7, 7, False)[0].shape == (0, 3, 7, 7)
    crops = kernels.roi_align([maps], rois, [1.0], *RULE, 7, 7, 2, False, False)
    assert crops.shape == (0, 3, 7, 7)
    (gradient,) = kernels.roi_align_backward(crops, rois, [1.0], *RULE, 2, [8], [8], 2, False, False)
    assert torch.equal(gradient, maps)


def moved(argument):
    """A tensor, or a list of them, with the same numbers at an address where no vector can be read."""
    if isinstance(argument, list):
        return [moved(item) for item in argument]
    if not isinstance(argument, Tensor):
        return argument
    memory = argument.new_empty(argument.numel() + 1)
    return memory.as_strided(argument.shape, argument.stride(), 1).copy_(argument)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", DTYPES[:3])
def test_crops_of_tensors_that_begin_anywhere_in_memory(kernels, dtype, channels_last):
    maps, rois = maps_and_rois(16, dtype, channels_last)
    crop = (maps, rois, SCALES, *RULE, 3, 3, 2, False, channels_last)
    crops = kernels.roi_align(*crop)
    assert torch.equal(kernels.roi_align(*moved([*crop])), crops)
    spread = (crops, rois, SCALES, *RULE, 2, *zip(*SIZES, strict=True), 2, False, channels_last)
    expected = kernels.roi_align_backward(*spread)
    torch.testing.assert_close(kernels.roi_align_backward(*moved([*spread])), expected, **tolerance_of(dtype))
    pool = (maps[0], rois, SCALES[0], 3, 3, channels_last)
    crops, cells = kernels.roi_pool(*pool)
    assert torch.equal(kernels.roi_pool(*moved([*pool]))[0], crops)
    spread = (crops, cells, rois, 2, *SIZES[0], channels_last)
    torch.testing.assert_close(
        kernels.roi_pool_backward(*moved([*spread])), kernels.roi_pool_backward(*spread), **tolerance_of(dtype)
    )


@pytest.mark.parametrize("dtype", DTYPES[:2])
def test_boxes_and_masks_that_begin_anywhere_in_memory(kernels, dtype):
    boxes, scores = (
        random_boxes(100, 0, dtype=dtype),
        torch.rand(100, generator=torch.Generator().manual_seed(0)).to(dtype),
    )
    labels = torch.arange(100) % 3
    for name, *arguments in [
        ("nms", boxes, scores, labels, 0.4),
        ("soft_nms", boxes, scores, labels, 0.3, 0.5, "linear", 0.4),
        ("box_iou", boxes, boxes, "iou"),
        ("box_iou_backward", boxes @ boxes.T, boxes, boxes, "giou"),
        ("best_overlaps", boxes.float(), labels, boxes[:9].float(), torch.tensor([0, 4, 9]), "iou", True),
        ("paste_masks_to_runs", boxes.view(25, 4, 4) / 400, boxes[:25].long(), [25], [200], [300], 0.3, True, True),
    ]:
        results, expected = getattr(kernels, name)(*moved(arguments)), getattr(kernels, name)(*arguments)
        torch.testing.assert_close(results, expected, rtol=0, atol=0)


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


# A thread takes 16 pixels; more than 89 classes do not fit into the shared memory of a block.
@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 5000, 300_000])
@pytest.mark.parametrize(("rows", "columns"), [(19, 19), (4, 7), (1, 0), (0, 2), (120, 133)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64], ids=str)
def test_label_confusion(kernels, dtype, rows, columns, count):
    generator = torch.Generator().manual_seed(count)
    for run in (1, 40):
        truth, answer = (
            torch.randint(-2, 150, (count // run + 1,), generator=generator).repeat_interleave(run)[:count].to(dtype)
            for _ in range(2)
        )
        equals_the_cpu(kernels, "label_confusion", truth, answer, rows, columns)


# A block has 128 queries and holds 256 points at once.
@pytest.mark.parametrize("sizes", [(0, 5), (3, 0), (1, 1), (127, 255), (128, 256), (129, 257), (300, 700)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES[:2], ids=str)
def test_nearest_neighbors(kernels, dtype, sizes):
    """Of points on a grid many are equally near, and some are not finite."""
    generator = torch.Generator().manual_seed(0)
    for unit in (0.5, 1e-3):
        queries, points = (
            (torch.randn(6, size, 3, generator=generator, dtype=dtype) / unit).round() * unit for size in sizes
        )
        queries[0, ::7, 1], points[0, ::5, 0], points[5] = float("inf"), float("nan"), float("nan")
        counts = torch.tensor([sizes[1], sizes[1] // 2, 0, -1, 2**40, 3])
        equals_the_cpu(kernels, "nearest_neighbors", queries, points, counts)


def test_nearest_neighbors_of_more_objects_than_blocks(kernels):
    generator = torch.Generator().manual_seed(0)
    queries, points = (torch.randn(65535 + 2, size, 3, generator=generator) for size in (1, 2))
    counts = torch.arange(65535 + 2) % 4
    equals_the_cpu(kernels, "nearest_neighbors", queries, points, counts)
