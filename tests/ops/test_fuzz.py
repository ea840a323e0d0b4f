"""Whatever tensors an op of detkit.ops is given, it computes or refuses; it never crashes.

`test_sanitizers.py` runs these tests once more, with kernels that stop at the first access outside of memory.
"""

import math
import random
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from detkit import ops
from detkit.ops import meshes

SEEDS, CALLS = 5, 150
REFUSALS = (ValueError, RuntimeError)  # InputError is a ValueError
ODD_NUMBERS = [
    math.nan,
    math.inf,
    -math.inf,
    3e38,
    -3e38,
    1e19,
    -1e9,
    65504.0,
    1e-45,
    0.0,
    -0.0,
    -1.0,
    2.0**31,
    2.0**63,
]
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
ODD_DTYPES = [*DTYPES, torch.int64, torch.uint8, torch.bool, torch.complex64]
THRESHOLDS = [0.5, 0.0, 1.0, 0.3, -1.0, 2.0, 1e-30, math.nan, math.inf, -math.inf]


class Draw:
    """Random arguments, most of them of the kind that an op expects."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.generator = torch.Generator().manual_seed(seed)

    def rarely(self) -> bool:
        return self.random.random() < 0.05

    def count(self) -> int:
        return self.random.choice([0, 1, 2, 3, 15, 16, 17, 70, 400])

    def many(self) -> int:
        return 5000 if self.rarely() else self.count()

    def either(self, *choices):
        return self.random.choice(choices)

    def tensor(self, numbers: Tensor) -> Tensor:
        """The numbers, some of them made odd, in a tensor whose dtype, shape or strides may be unexpected."""
        if self.rarely() and numbers.is_floating_point():
            share = self.either(0.01, 0.5)
            odd = torch.tensor(ODD_NUMBERS)[torch.randint(len(ODD_NUMBERS), numbers.shape, generator=self.generator)]
            numbers = torch.where(torch.rand(numbers.shape, generator=self.generator) < share, odd, numbers)
        if self.rarely():
            numbers = numbers.to(self.random.choice(ODD_DTYPES))
        if self.rarely():
            numbers = self._with_other_shape(numbers)
        return self._with_other_strides(numbers)

    def _with_other_shape(self, tensor: Tensor) -> Tensor:
        change = self.either("shorter", "longer", "flat", "deeper")
        if change == "flat":
            return tensor.flatten()
        if change == "deeper" or tensor.ndim == 0:
            return tensor[None]
        axis = self.random.randrange(tensor.ndim)
        return tensor.narrow(axis, 0, tensor.shape[axis] // 2) if change == "shorter" else torch.cat([tensor] * 2, axis)

    def _with_other_strides(self, tensor: Tensor) -> Tensor:
        layout = self.either("contiguous", "contiguous", "reversed axes", "every other", "expanded", "shifted")
        if layout == "reversed axes":
            return tensor.permute(*reversed(range(tensor.ndim))).contiguous().permute(*reversed(range(tensor.ndim)))
        if layout == "every other" and tensor.ndim:
            return torch.stack([tensor, tensor], -1)[..., 0]
        if layout == "expanded" and tensor.ndim and tensor.shape[0]:
            return tensor[:1].expand_as(tensor)
        if layout == "shifted":  # memory that is not aligned to a vector
            return torch.cat([tensor.flatten()[:1], tensor.flatten()])[min(1, tensor.numel()) :].view(tensor.shape)
        return tensor

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator)

    def scores(self, count: int) -> Tensor:
        return self.tensor((self.uniform(count) * 8).round() / 8 if self.rarely() else self.uniform(count))

    def corners(self, count: int) -> Tensor:
        """Boxes within, around and far from an image of 100 pixels; some without a size, some inside out."""
        size = self.either(1.0, 10.0, 10.0, 100.0, 1e4, 1e12)
        corner = self.uniform(count, 2) * 120 - 10
        sides = self.uniform(count, 2) * size - (size / 4 if self.rarely() else 0)
        boxes = torch.cat([corner, corner + sides], 1)
        return boxes.round() if self.rarely() else boxes

    def boxes(self, count: int) -> Tensor:
        return self.tensor(self.corners(count))

    def rois(self, count: int, batch: int) -> Tensor:
        images = torch.randint(0, max(1, batch), (count, 1), generator=self.generator).float()
        if self.rarely():
            images += self.either(-1, 0.5, 1e10)
        return self.tensor(torch.cat([images, self.corners(count)], 1))

    def maps(self, dtype: torch.dtype, *shape: int) -> Tensor:
        maps = self.tensor(torch.randn(shape, generator=self.generator).to(dtype))
        if maps.ndim == 4 and self.rarely():
            maps = maps.contiguous(memory_format=torch.channels_last)
        return maps.requires_grad_(maps.is_floating_point() and self.either(True, False))


def nms(draw: Draw) -> Tensor:
    count = draw.many()
    return ops.nms(draw.boxes(count), draw.scores(count), draw.either(*THRESHOLDS))


def batched_nms(draw: Draw) -> Tensor:
    count = draw.many()
    labels = torch.randint(-3, draw.either(-2, 5, 2**62), (count,), generator=draw.generator)
    return ops.batched_nms(draw.boxes(count), draw.scores(count), draw.tensor(labels), draw.either(*THRESHOLDS))


def nms_padded(draw: Draw) -> Tensor:
    count = draw.many()
    labels = torch.randint(-3, draw.either(-2, 5, 2**62), (count,), generator=draw.generator)
    kept, _ = ops.nms_padded(
        draw.boxes(count),
        draw.scores(count),
        draw.either(*THRESHOLDS),
        -1 if draw.rarely() else draw.either(0, 1, 7, 100, 5000),
        draw.tensor(labels) if draw.either(True, False) else None,
    )
    return kept


def batched_nms_padded(draw: Draw) -> Tensor:
    count, images = draw.many(), draw.either(0, 1, 4)
    index = torch.randint(-1, draw.either(1, 5, 2**62), (count,), generator=draw.generator)
    labels = torch.randint(-3, draw.either(-2, 5, 2**31), (count,), generator=draw.generator)
    kept, _ = ops.batched_nms_padded(
        draw.boxes(count),
        draw.scores(count),
        draw.tensor(index),
        draw.either(*THRESHOLDS),
        -1 if draw.rarely() else images,
        -1 if draw.rarely() else draw.either(0, 1, 7, 100, 5000),
        draw.tensor(labels) if draw.either(True, False) else None,
    )
    return kept


def soft_nms(draw: Draw) -> Tensor:
    count = draw.count()
    labels = torch.randint(-3, draw.either(-2, 5, 2**62), (count,), generator=draw.generator)
    _, scores = ops.soft_nms(
        draw.boxes(count),
        draw.scores(count),
        draw.either(*THRESHOLDS) if draw.rarely() else draw.either(0.0, 0.3, 0.7),
        draw.either(*THRESHOLDS) if draw.rarely() else draw.either(0.1, 0.5),
        "none" if draw.rarely() else draw.either("linear", "gaussian", "hard"),
        draw.either(*THRESHOLDS) if draw.rarely() else draw.either(0.0, 0.001, 0.3),
        draw.tensor(labels) if draw.either(True, False) else None,
    )
    return scores


def best_overlaps(draw: Draw) -> Tensor:
    images, count = draw.either(0, 1, 4), draw.many()
    objects = draw.count()
    bounds = torch.randint(-1, objects + 2, (images + 1,), generator=draw.generator)
    index = torch.randint(-1, images + 1, (count,), generator=draw.generator)
    best = ops.best_overlaps(
        draw.boxes(count),
        draw.boxes(objects),
        draw.tensor(bounds if draw.rarely() else bounds.sort().values),
        draw.tensor(index) if draw.either(True, False) else None,
        draw.either("iou", "coverage", "iou"),
        draw.either(True, False),
    )
    return best.overlaps


def box_iou(draw: Draw) -> Tensor:
    boxes1, boxes2 = draw.boxes(draw.count()), draw.boxes(draw.count())
    return ops.box_iou(
        boxes1.requires_grad_(boxes1.is_floating_point() and draw.either(True, False)),
        boxes2,
        draw.either("iou", "giou", "diou", "ciou", "none"),
    )


def crop_sizes(draw: Draw) -> dict:
    return {
        "output_size": draw.either(0, -1) if draw.rarely() else draw.either(1, 2, 7, (3, 5), (1, 9)),
        "sampling_ratio": draw.either(-1, 0, 1, 2, 5),
        "aligned": draw.either(True, False),
    }


def roi_align(draw: Draw) -> Tensor:
    batch = draw.either(0, 1, 1, 2, 3)
    features = draw.maps(
        draw.either(*DTYPES), batch, draw.either(0, 1, 3, 16, 17, 70), draw.either(1, 2, 9, 30), draw.either(1, 2, 25)
    )
    scale = draw.either(0.0, -1.0, 1e30, math.nan, math.inf) if draw.rarely() else draw.either(1.0, 1 / 4, 0.3)
    return ops.roi_align(features, draw.rois(draw.either(0, 1, 2, 20), batch), spatial_scale=scale, **crop_sizes(draw))


def roi_pool(draw: Draw) -> Tensor:
    batch = draw.either(0, 1, 1, 2, 3)
    features = draw.maps(
        draw.either(*DTYPES), batch, draw.either(0, 1, 3, 16, 17, 70), draw.either(1, 2, 9, 30), draw.either(1, 2, 25)
    )
    scale = draw.either(0.0, -1.0, 1e30, math.nan, math.inf) if draw.rarely() else draw.either(1.0, 1 / 4, 0.3)
    rois = draw.rois(draw.either(0, 1, 2, 20), batch)
    return ops.roi_pool(features, rois, crop_sizes(draw)["output_size"], scale)


def multilevel_roi_align(draw: Draw) -> Tensor:
    batch, channels, levels = draw.either(0, 1, 1, 2, 3), draw.either(1, 3, 16, 20), draw.either(1, 2, 3)
    dtype = draw.either(*DTYPES)
    maps = [draw.maps(dtype, batch, channels, 24 >> level, 32 >> level) for level in range(levels)]
    scales = [2.0 ** -(level + (3 if draw.rarely() else 2)) for level in range(levels)]
    rois = draw.rois(draw.either(0, 1, 2, 20), batch)
    sizes = {"canonical_size": draw.either(224, 8, 1), "canonical_level": draw.either(4, 2, -4)}
    return ops.multilevel_roi_align(maps, rois, spatial_scales=scales, **crop_sizes(draw), **sizes)


def pixels(draw: Draw, count: int, height: int, width: int) -> Tensor:
    return draw.uniform(count, height, width) < draw.either(0.0, 0.1, 0.5, 1.0)


def run_lengths(draw: Draw, height: int, width: int) -> ops.RunLengths:
    """The runs of masks, some of them of other masks than their offsets and size say."""
    runs = ops.masks_to_rle(pixels(draw, draw.either(0, 1, 2, 20), height, width))
    if draw.rarely():
        width += 1
    counts = draw.tensor(runs.counts * (-1 if draw.rarely() else 1))
    return ops.RunLengths(counts, draw.tensor(runs.offsets), height, width)


def masks_to_rle(draw: Draw) -> Tensor:
    masks = pixels(draw, draw.count(), draw.either(0, 1, 9, 30), draw.either(0, 1, 9, 65))
    masks = draw.tensor(masks if draw.either(True, False) else masks.byte() * 200)
    return ops.masks_to_rle(masks).counts


def rle_to_masks(draw: Draw) -> Tensor:
    return ops.rle_to_masks(run_lengths(draw, draw.either(0, 1, 9, 30), draw.either(0, 1, 9, 65)))


def mask_iou(draw: Draw) -> Tensor:
    size = draw.either(0, 1, 9, 30), draw.either(0, 1, 9, 65)
    masks1, masks2 = run_lengths(draw, *size), run_lengths(draw, *size)
    iscrowd = draw.tensor(draw.uniform(len(masks2)) < 0.5) if draw.either(True, False) else None
    return ops.mask_iou(masks1, masks2, iscrowd)


def polygons_to_rle(draw: Draw) -> Tensor:
    objects = [
        [draw.tensor(draw.corners(draw.either(1, 2, 10)).double().flatten()) for _ in range(draw.either(1, 1, 3))]
        for _ in range(draw.either(0, 1, 20))
    ]
    return ops.polygons_to_rle(objects, draw.either(0, 1, 50), draw.either(0, 1, 80)).boxes()


def pasting(draw: Draw) -> tuple:
    count, side = draw.either(0, 1, 2, 20), draw.either(1, 2, 7, 28)
    masks = draw.tensor(draw.uniform(count, side, side).to(draw.either(*DTYPES)))
    size = draw.either(0, 1, 50), draw.either(0, 1, 80)
    return masks, draw.boxes(count), size, draw.either(*THRESHOLDS) if draw.rarely() else 0.5


def paste_masks(draw: Draw) -> Tensor:
    return ops.paste_masks(*pasting(draw))


def paste_masks_to_rle(draw: Draw) -> Tensor:
    return ops.paste_masks_to_rle(*pasting(draw)).areas()


def batched_pasting(draw: Draw) -> tuple:
    counts = [draw.either(0, 1, 5) for _ in range(draw.either(0, 1, 3))]
    count, side = sum(counts), draw.either(1, 7, 28)
    masks = draw.tensor(draw.uniform(count, side, side).to(draw.either(*DTYPES)))
    sizes = [(draw.either(0, 1, 50), draw.either(0, 1, 80)) for _ in counts]
    return masks, draw.boxes(count), counts, sizes[1:] if draw.rarely() else sizes


def batched_paste_masks(draw: Draw) -> Tensor:
    pasted = ops.batched_paste_masks(*batched_pasting(draw))
    return torch.cat([torch.zeros(0, dtype=torch.bool), *(pixels.flatten() for pixels in pasted)])


def batched_paste_masks_to_rle(draw: Draw) -> Tensor:
    encoded = ops.batched_paste_masks_to_rle(*batched_pasting(draw))
    return torch.cat([torch.zeros(0, dtype=torch.int64), *(runs.areas() for runs in encoded)])


def label_maps(draw: Draw, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Two maps, some of whose neighboring pixels are alike."""
    shape, run = (draw.count(), draw.either(0, 1, 9, 33)), draw.either(1, 1, 40)
    numbers = torch.randint(-2, draw.either(0, 5, 300), (2, *shape), generator=draw.generator)
    first, second = (numbers // run).to(dtype)
    return draw.tensor(first), draw.tensor(second)


def label_confusion(draw: Draw) -> Tensor:
    maps = label_maps(draw, draw.either(torch.uint8, torch.int16, torch.int32, torch.int64))
    sizes = draw.either(0, 1, 5, 256, 300), draw.either(None, 0, 1, 5, 256, 300)
    return ops.label_confusion(*maps, *((-1, 2**40) if draw.rarely() else sizes))


def label_pairs(draw: Draw) -> Tensor:
    return ops.label_pairs(*label_maps(draw, torch.int32))[1]


def nearest_neighbors(draw: Draw) -> Tensor:
    objects, queries, points = draw.either(0, 1, 3), draw.count(), draw.count()
    counts = torch.randint(-1, points + 2, (objects,), generator=draw.generator)
    dtype, scale = draw.either(*DTYPES), draw.either(1.0, 1.0, 1e-4, 1e3)
    first, second = (
        draw.tensor((torch.randn(objects, size, 3, generator=draw.generator) * scale).to(dtype))
        for size in (queries, points)
    )
    if first.is_floating_point():
        first.requires_grad_(draw.either(True, False))
    return meshes.nearest_neighbors(first, second, draw.tensor(counts)).squared_distances


OPS: dict[str, Callable[[Draw], Tensor]] = {
    "nms": nms,
    "batched_nms": batched_nms,
    "batched_nms_padded": batched_nms_padded,
    "nms_padded": nms_padded,
    "best_overlaps": best_overlaps,
    "box_iou": box_iou,
    "roi_align": roi_align,
    "multilevel_roi_align": multilevel_roi_align,
    "masks_to_rle": masks_to_rle,
    "rle_to_masks": rle_to_masks,
    "mask_iou": mask_iou,
    "polygons_to_rle": polygons_to_rle,
    "roi_pool": roi_pool,
    "soft_nms": soft_nms,
    "paste_masks": paste_masks,
    "paste_masks_to_rle": paste_masks_to_rle,
    "batched_paste_masks": batched_paste_masks,
    "batched_paste_masks_to_rle": batched_paste_masks_to_rle,
    "label_confusion": label_confusion,
    "label_pairs": label_pairs,
    "nearest_neighbors": nearest_neighbors,
}


def test_every_op_is_listed():
    assert set(OPS) == set(ops.__all__) - {"backend", "is_exporting", "RunLengths"} | {"nearest_neighbors"}


@pytest.fixture(params=[1, 2])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("name", OPS)
def test_any_tensors_are_computed_or_refused(native, threads, name, seed):
    computed = 0
    for call in range(CALLS):
        draw = Draw(CALLS * seed + call)
        try:
            result = OPS[name](draw)
            if result.requires_grad:
                result.backward(draw.tensor(torch.randn(result.shape, generator=draw.generator)))
        except REFUSALS:
            continue
        computed += 1
    assert computed > CALLS / 4
