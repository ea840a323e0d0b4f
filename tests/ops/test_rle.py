"""Run-length encoded masks, compared with pycocotools to the bit."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco
from torch import Tensor

from detkit.errors import InputError
from detkit.ops import RunLengths, mask_iou, masks_to_rle, polygons_to_rle, rle_to_masks
from detkit.testing.imitation import imitated_device

SHAPES = [(1, 1), (1, 70), (70, 1), (7, 5), (13, 64), (64, 65), (3, 200), (150, 131)]


def coco_encoded(masks: Tensor) -> list[dict]:
    return [coco.encode(np.asfortranarray(mask.numpy().astype(np.uint8))) for mask in masks]


def random_masks(count: int, height: int, width: int, seed: int) -> Tensor:
    """Noise of all densities, rectangles and bands, among them empty and full masks."""
    generator = np.random.default_rng(seed)
    masks = generator.random((count, height, width)) < generator.choice([0, 0.02, 0.5, 0.98, 1], (count, 1, 1))
    for mask in masks[::2]:
        mask[:] = False
        top, bottom = np.sort(generator.integers(0, height + 1, 2))
        left, right = np.sort(generator.integers(0, width + 1, 2))
        mask[top:bottom, left:right] = True
        if generator.random() < 0.3:
            mask ^= generator.random(mask.shape) < 0.1
    return torch.from_numpy(masks)


def random_polygons(seed: int, height: int, width: int) -> list[list[float]]:
    """Polygons of three to twelve corners, some of whole or half numbers, some far outside, some of no area."""
    generator = np.random.default_rng(seed)
    polygons = []
    for _ in range(generator.integers(1, 5)):
        corners = generator.integers(3, 13)
        reach = generator.choice([1, 1, 2, 20])
        polygon = (generator.random((corners, 2)) * (2 * reach - 1) - (reach - 1)) * [width, height]
        step = generator.choice([0, 0, 0.1, 0.5, 1])
        if step:
            polygon = np.round(polygon / step) * step
        if generator.random() < 0.2:
            polygon[1] = polygon[0]
        if generator.random() < 0.1:
            polygon[:, generator.integers(0, 2)] = polygon[0, 0]
        polygons.append(polygon.reshape(-1).tolist())
    return polygons


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", SHAPES)
def test_masks_are_encoded_and_decoded_as_pycocotools_does(implementation, shape, seed):
    masks = random_masks(40, *shape, seed)
    encoded = masks_to_rle(masks)
    assert encoded.to_coco() == coco_encoded(masks)
    assert torch.equal(rle_to_masks(encoded), masks)
    assert torch.equal(rle_to_masks(RunLengths.from_coco(coco_encoded(masks))), masks)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", SHAPES)
def test_areas_and_boxes_are_those_of_pycocotools(implementation, shape, seed):
    masks = random_masks(40, *shape, seed)
    encoded, expected = masks_to_rle(masks), coco_encoded(masks)
    assert encoded.areas().tolist() == coco.area(expected).tolist() == masks.sum((1, 2)).tolist()
    boxes = coco.toBbox(expected)
    boxes[:, 2:] += boxes[:, :2]
    assert torch.equal(encoded.boxes(), torch.from_numpy(boxes).float())


def test_a_run_into_the_next_column_has_the_whole_height(implementation):
    mask = torch.zeros(1, 4, 3, dtype=torch.bool)
    mask[0, 3, 0] = mask[0, 0, 1] = True
    encoded = masks_to_rle(mask)
    assert encoded.counts.tolist() == [3, 2, 7]
    assert encoded.boxes().tolist() == [[0, 0, 2, 4]]
    mask[0, 0, 1] = False
    assert masks_to_rle(mask).boxes().tolist() == [[0, 3, 1, 4]]


def test_a_large_mask(native):
    rows, columns = torch.meshgrid(torch.arange(1500), torch.arange(2100), indexing="ij")
    masks = torch.stack([((rows - 700) ** 2 + (columns - 900) ** 2) < 500**2, (rows * columns) % 7 == 0])
    encoded = masks_to_rle(masks)
    assert encoded.to_coco() == coco_encoded(masks)
    assert torch.equal(rle_to_masks(encoded), masks)


def test_every_byte_but_zero_is_inside(implementation):
    masks = torch.randint(0, 4, (5, 60, 200), generator=torch.Generator().manual_seed(0)).byte() * 85
    assert masks_to_rle(masks).to_coco() == coco_encoded(masks != 0)


@pytest.mark.parametrize("shape", [(0, 5, 7), (2, 0, 7), (2, 5, 0), (0, 0, 0)])
def test_nothing_to_encode(implementation, shape):
    masks = torch.zeros(shape, dtype=torch.bool)
    encoded = masks_to_rle(masks)
    assert len(encoded) == shape[0]
    assert encoded.areas().tolist() == [0] * shape[0]
    assert encoded.boxes().tolist() == [[0, 0, 0, 0]] * shape[0]
    assert rle_to_masks(encoded).shape == shape
    assert len(RunLengths.from_coco(encoded.to_coco(), shape[1:])) == shape[0]
    assert mask_iou(encoded, encoded).tolist() == [[0] * shape[0]] * shape[0]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", SHAPES)
def test_overlaps_are_those_of_pycocotools(implementation, shape, seed):
    masks, others = random_masks(12, *shape, seed), random_masks(9, *shape, seed + 100)
    others[3] = masks[4]
    crowds = torch.arange(9) % 3 == 0
    expected = coco.iou(coco_encoded(masks), coco_encoded(others), crowds.tolist())
    result = mask_iou(masks_to_rle(masks), masks_to_rle(others), crowds)
    assert result.dtype == torch.float64
    assert result.tolist() == expected.tolist()


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=12), min_size=2, max_size=2))
def test_runs_of_length_zero_are_taken_as_pycocotools_takes_them(counts):
    """No encoder writes them, but annotation files may have them."""
    pixels = 6 * 8
    uncompressed = [{"size": [6, 8], "counts": [*runs, pixels - sum(runs)]} for runs in counts]
    expected = coco.frPyObjects(uncompressed, 6, 8)
    masks = RunLengths.from_coco(uncompressed)
    assert masks.to_coco() == expected
    assert masks.areas().tolist() == coco.area(expected).tolist()
    assert mask_iou(masks, masks).tolist() == coco.iou(expected, expected, [0, 0]).tolist()
    boxes = coco.toBbox(expected)
    boxes[:, 2:] += boxes[:, :2]
    boxes[coco.area(expected) == 0] = 0  # where pycocotools subtracts below zero
    assert masks.boxes().tolist() == boxes.tolist()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", [(40, 60), (1, 30), (30, 1), (300, 200), (17, 17)])
def test_polygons_are_filled_as_pycocotools_does(native, shape, seed):
    height, width = shape
    objects = [random_polygons(1000 * seed + i, height, width) for i in range(150)]
    expected = [coco.merge(coco.frPyObjects(polygons, height, width)) for polygons in objects]
    assert polygons_to_rle(objects, height, width).to_coco() == expected


def test_polygons_are_filled_without_the_kernels(implementation):
    objects = [random_polygons(seed, 40, 60) for seed in range(20)]
    expected = [coco.merge(coco.frPyObjects(polygons, 40, 60)) for polygons in objects]
    assert polygons_to_rle(objects, 40, 60).to_coco() == expected


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(*[st.integers(-15, 75)] * 2), min_size=3, max_size=6))
def test_corners_on_the_grid_are_rounded_as_pycocotools_does(corners):
    """Fifths of a pixel, where edges run along the middles of pixels."""
    polygon = [coordinate / 5 for corner in corners for coordinate in corner]
    expected = coco.merge(coco.frPyObjects([polygon], 12, 10))
    assert polygons_to_rle([[polygon]], 12, 10).to_coco() == [expected]


def test_polygons_of_few_corners_are_empty(implementation):
    objects = [[[]], [[3.0, 4.0]], [[1.0, 1.0, 8.0, 9.0]]]
    assert polygons_to_rle(objects, 10, 10).areas().tolist() == [0, 0, 0]
    assert len(polygons_to_rle([], 10, 10)) == 0


def test_large_polygons_are_filled_as_pycocotools_does(native):
    generator = np.random.default_rng(0)
    polygons = [(generator.random(2 * corners) * 2000 - 100).tolist() for corners in (5, 50, 700)]
    expected = coco.merge(coco.frPyObjects(polygons, 1800, 1700))
    assert polygons_to_rle([polygons], 1800, 1700).to_coco() == [expected]


def test_a_far_away_corner_takes_no_time(native):
    mask = rle_to_masks(polygons_to_rle([[[0.0, 0, 1e8, 0, 1e8, 1e8]]], 50, 60))[0]
    rows, columns = torch.meshgrid(torch.arange(50), torch.arange(60), indexing="ij")
    assert mask[columns > rows].all()
    assert not mask[columns < rows].any()


def test_selected_masks(implementation):
    masks = random_masks(6, 9, 8, 0)
    encoded = masks_to_rle(masks)
    for index in (2, -1, slice(1, 5, 2), torch.tensor([5, 0, 0]), torch.arange(6) % 2 == 0, torch.tensor([]).long()):
        selected = encoded[index]
        assert torch.equal(rle_to_masks(selected), masks[torch.arange(6)[index].reshape(-1)])
    with pytest.raises(IndexError):
        encoded[6]


def test_masks_are_selected_by_an_index_of_any_device():
    masks = random_masks(4, 9, 8, 0)
    index = torch.tensor([3, 1])
    with imitated_device():
        by_index = masks_to_rle(masks)[index.to("cuda")]
        by_mask = masks_to_rle(masks.to("cuda"))[(torch.arange(4) % 2 == 1).to("cuda")]
        decoded = rle_to_masks(by_index, "cuda").cpu()
    assert torch.equal(decoded, masks[index])
    assert torch.equal(rle_to_masks(by_mask), masks[1::2])


def test_both_forms_of_coco_are_read(implementation):
    masks = random_masks(6, 9, 8, 0)
    encoded = masks_to_rle(masks)
    forms = encoded.to_coco()
    forms[1]["counts"] = forms[1]["counts"].decode()
    forms[2]["counts"] = encoded[2].counts.tolist()
    forms[5]["counts"] = encoded[5].counts.tolist()
    read = RunLengths.from_coco(forms)
    assert (read.height, read.width) == (9, 8)
    assert torch.equal(read.counts, encoded.counts)
    assert torch.equal(read.offsets, encoded.offsets)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=12))
def test_any_string_is_read_or_refused(text):
    try:
        runs = RunLengths.from_coco([{"size": [5, 7], "counts": text}])
    except InputError:
        return
    assert int(runs.counts.sum()) == 35
    assert rle_to_masks(runs).shape == (1, 5, 7)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (b"9", "its runs.* sum to"),
        (b"d0d0", "its runs.* sum to"),
        (b"d", "it ends within a number"),
        (b"4 5", "its character 1 is none of '0' to 'o'"),
        (b"4\xff", "its character 1 is none of '0' to 'o'"),
        (b"M", "its run.* negative"),
        (b"", "its runs.* sum to"),
        (b"PPPPPPPPPPPPPP0", "its .*(too many digits|runs)"),
        ([5, 7], "its runs.* sum to"),
        ([5, -5, 20], "its run lengths .* negative or no whole numbers"),
        ([4.5, 15.5], "its run lengths .* negative or no whole numbers"),
        ([None], "its run lengths .* negative or no whole numbers"),
        ([True, 19], "its run lengths .* negative or no whole numbers"),
        (["5", 15], "its run lengths .* negative or no whole numbers"),
        ([10**400], "its run lengths .* negative or no whole numbers"),
        ([2**31], "its run lengths .* negative or no whole numbers"),
    ],
)
def test_counts_that_are_no_mask_are_refused(implementation, counts, message):
    good = masks_to_rle(torch.ones(1, 4, 5, dtype=torch.bool)).to_coco()
    with pytest.raises(InputError, match=f"^mask 1: {message}"):
        RunLengths.from_coco([*good, {"size": [4, 5], "counts": counts}])


def test_input_errors_name_what_is_wrong(implementation):
    with pytest.raises(InputError, match=r"masks must have shape \(N, H, W\), got \(3, 4\)"):
        masks_to_rle(torch.zeros(3, 4, dtype=torch.bool))
    with pytest.raises(InputError, match=r"masks must be bool or uint8, got torch.float32: threshold"):
        masks_to_rle(torch.zeros(1, 3, 4))
    with pytest.raises(InputError, match="masks must be of one size"):
        RunLengths.from_coco([{"size": [4, 5], "counts": b"d0"}, {"size": [5, 4], "counts": b"d0"}])
    with pytest.raises(InputError, match="no mask and no size"):
        RunLengths.from_coco([])
    with pytest.raises(InputError, match=r"objects\[1\]\[0\] must be x y of each corner, got 5 numbers"):
        polygons_to_rle([[[1.0] * 6], [[1.0] * 5]], 4, 4)
    with pytest.raises(InputError, match=r"objects\[0\] has no polygon"):
        polygons_to_rle([[]], 4, 4)
    for value in (float("nan"), float("inf"), 1e300, -1e9):
        with pytest.raises(InputError, match=r"^objects\[1\]\[0\] must have finite coordinates of at most 2e\+08"):
            polygons_to_rle([[[0.0, 0, 1, 1, 2, 2]], [[0.0, 0, 1, 1, 2, value]]], 4, 4)
    for value in (None, "1", [2.0], 10**400, {}):
        with pytest.raises(InputError, match=r"^objects\[0\]\[0\] must be a list of numbers"):
            polygons_to_rle([[[0.0, 0, 1, 1, 2, value]]], 4, 4)
    for size in ([4], [4, 4.5], [-1, 4], [2**20, 2**20], ["4", 4], None, 4, [10**400, 1]):
        with pytest.raises(InputError, match="is no height and width in pixels"):
            RunLengths.from_coco([{"size": size, "counts": b"d0"}])
    small, large = masks_to_rle(torch.ones(1, 2, 2).bool()), masks_to_rle(torch.ones(1, 3, 2).bool())
    with pytest.raises(InputError, match="masks1 and masks2 must be of one size, got 2 x 2 and 3 x 2"):
        mask_iou(small, large)
    with pytest.raises(InputError, match=r"iscrowd must have shape \(1,\)"):
        mask_iou(small, small, torch.zeros(2, dtype=torch.bool))
    with pytest.raises(InputError, match=r"counts must be torch\.int32 on the CPU"):
        RunLengths(torch.zeros(1, dtype=torch.int64), torch.tensor([0, 1]), 0, 0)
    with pytest.raises(InputError, match="offsets must begin with 0 and end with"):
        RunLengths(torch.zeros(1, dtype=torch.int32), torch.tensor([0, 2]), 0, 0)


@pytest.mark.parametrize(
    ("counts", "offsets", "message"),
    [
        ([4, -1, 9], [0, 3], "counts must not be negative"),
        ([4, 9], [0, 2], "the runs of mask 0 sum to 13"),
        ([4, 8], [0, 1], "offsets must begin with 0, not fall, and end with 2"),
        ([4, 8], [0, 3, 2], "offsets must begin with 0, not fall, and end with 2"),
        ([4, 8], [], "offsets must begin with 0, not fall, and end with 2"),
    ],
)
def test_the_kernels_refuse_what_is_no_runs(native, counts, offsets, message):
    counts, offsets = torch.tensor(counts, dtype=torch.int32), torch.tensor(offsets, dtype=torch.int64)
    with pytest.raises(RuntimeError, match=message):
        torch.ops.detkit.runs_to_masks(counts, offsets, 4, 3)


def test_the_kernels_refuse_images_of_too_many_pixels(native):
    runs = torch.tensor([1], dtype=torch.int32), torch.tensor([0, 1])
    for size in [(2**16, 2**15), (2**40, 2**40), (-1, -1)]:
        with pytest.raises(RuntimeError, match=r"must not be negative, nor 2\^31 or more together"):
            torch.ops.detkit.runs_to_masks(*runs, *size)


def test_operator_registration(native):
    masks = masks_to_rle(random_masks(5, 9, 8, 0))
    runs = (masks.counts, masks.offsets)
    ops = torch.ops.detkit
    torch.library.opcheck(ops.masks_to_runs.default, (random_masks(5, 9, 8, 0),))
    torch.library.opcheck(ops.runs_to_masks.default, (*runs, 9, 8))
    torch.library.opcheck(ops.runs_to_strings.default, runs)
    torch.library.opcheck(ops.strings_to_runs.default, (*ops.runs_to_strings(*runs), 9, 8))
    triangle = (torch.tensor([0.0, 0, 5, 0, 0, 5]).double(), torch.tensor([0, 3]), torch.tensor([0, 1]))
    torch.library.opcheck(ops.polygons_to_runs.default, (*triangle, torch.tensor([[9, 8]])))
    torch.library.opcheck(ops.run_areas.default, runs)
    torch.library.opcheck(ops.run_boxes.default, (*runs, 9, 8))
    torch.library.opcheck(ops.run_iou.default, (*runs, *runs, 9, 8, torch.zeros(5, dtype=torch.bool)))


@pytest.mark.gpu
@pytest.mark.parametrize("shape", [(0, 7, 9), (1, 1, 1), (12, 130, 77)])
def test_cuda_equals_cpu(cuda, shape):
    masks = torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.4
    encoded, expected = masks_to_rle(masks.to(cuda)), masks_to_rle(masks)
    assert torch.equal(encoded.counts, expected.counts)
    assert torch.equal(encoded.offsets, expected.offsets)
    assert torch.equal(rle_to_masks(encoded, cuda).cpu(), masks)
    too_few = RunLengths(torch.ones(1, dtype=torch.int32), torch.tensor([0, 1]), 3, 3)
    with pytest.raises(RuntimeError, match="3 x 3"):
        rle_to_masks(too_few, cuda)


@pytest.mark.parametrize("counts", [[0, 1], [2, 3], [4, 0]])
def test_concatenated_masks_are_those_of_all(counts):
    masks = [torch.rand(count, 5, 6, generator=torch.Generator().manual_seed(1)) < 0.5 for count in counts]
    together = RunLengths.concatenated([masks_to_rle(part) for part in masks], 5, 6)
    assert torch.equal(rle_to_masks(together), torch.cat(masks))
    assert torch.equal(rle_to_masks(RunLengths.concatenated([], 5, 6)), torch.zeros(0, 5, 6, dtype=torch.bool))


def test_masks_in_the_wanted_form_come_back_as_they_are():
    masks = torch.rand(3, 5, 6, generator=torch.Generator().manual_seed(2)) < 0.5
    encoded = masks_to_rle(masks)
    assert masks_to_rle(encoded) is encoded
    assert rle_to_masks(masks) is masks
    assert encoded.shape == (3, 5, 6)
