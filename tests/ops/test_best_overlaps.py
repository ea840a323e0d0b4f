import pytest
import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.ops import best_overlaps, box_iou
from detkit.ops.best_overlaps import best_overlaps_reference, coverage

SEEDS = range(3)
# Objects of each image, and candidates: more than a chunk of 512, more objects than a CUDA block holds, none at all.
CASES = [([3, 0, 5], 1300), ([150], 600), ([0, 0], 40), ([2, 1], 0), ([], 7), ([1], 1), ([40] * 4, 512)]


def grid_boxes(count: int, generator: torch.Generator) -> Tensor:
    """Boxes with corners at whole pixels, so that many overlaps tie; some without area or far from the others."""
    corners = torch.randint(0, 60, (count, 2, 2), generator=generator).sort(dim=1).values
    boxes = corners.flatten(1).float()
    boxes[::7] += 1000
    return boxes


def batch_of(counts: list[int], candidates: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Candidates, objects, bounds, and an image for each candidate, some of which do not exist."""
    generator = torch.Generator().manual_seed(seed)
    bounds = torch.tensor([0, *counts]).cumsum(0)
    images = torch.randint(-1, len(counts) + 1, (candidates,), generator=generator)
    images = images.sort().values if seed % 2 else images
    return grid_boxes(candidates, generator), grid_boxes(sum(counts), generator), bounds, images


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("counts", "candidates"), CASES)
@pytest.mark.parametrize("measure", ["iou", "coverage"])
@pytest.mark.parametrize("flat", [False, True])
def test_the_kernel_equals_the_reference(native, flat, measure, counts, candidates, seed):
    boxes, objects, bounds, images = batch_of(counts, candidates, seed)
    for of_objects in (False, True):
        arguments = (boxes, objects, bounds, images if flat else None, measure, of_objects)
        for result, expected in zip(best_overlaps(*arguments), best_overlaps_reference(*arguments), strict=True):
            assert result.dtype == expected.dtype
            assert torch.equal(result, expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_overlaps_are_those_of_all_pairs_bit_by_bit(implementation, seed):
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(1500, 2, 2, generator=generator).sort(dim=1).values.flatten(1) * 300
    boxes, objects = corners[:1400], corners[1400:]
    bounds = torch.tensor([0, 100])
    result = best_overlaps(boxes, objects, bounds, of_objects=True)
    pairs = box_iou(objects, boxes)
    assert torch.equal(result.overlaps[0], pairs.max(dim=0).values)
    assert torch.equal(result.rows[0], pairs.max(dim=0).indices)
    assert torch.equal(result.object_overlaps, pairs.max(dim=1).values)
    assert torch.equal(result.object_candidates, pairs.max(dim=1).indices)
    covered = best_overlaps(boxes, objects, bounds, measure="coverage")
    assert torch.equal(covered.overlaps[0], coverage(boxes, objects).amax(dim=1))


def test_of_equal_overlaps_the_first_object_counts_and_all_candidates_are_best(implementation):
    objects = torch.tensor([[0.0, 0, 10, 10]] * 2 + [[90.0, 90, 99, 99]])
    candidates = torch.tensor([[0.0, 0, 10, 5], [0, 5, 10, 10], [0, 0, 10, 4], [50, 50, 60, 60]])
    result = best_overlaps(candidates, objects, torch.tensor([0, 3]), of_objects=True)
    assert result.overlaps.tolist() == [pytest.approx([0.5, 0.5, 0.4, 0])]
    assert result.rows.tolist() == [[0, 0, 0, 0]]
    assert result.is_best.tolist() == [[True, True, False, False]]
    assert result.object_overlaps.tolist() == [0.5, 0.5, 0]
    assert result.object_candidates.tolist() == [0, 0, -1]


def test_every_candidate_is_compared_with_the_objects_of_its_image_alone(implementation):
    objects = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10]])
    candidates = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10], [0, 0, 10, 10]])
    result = best_overlaps(candidates, objects, torch.tensor([0, 1, 1, 2]), torch.tensor([2, 2, 1]))
    assert result.overlaps.tolist() == [0, 1, 0]
    assert result.rows.tolist() == [1, 1, -1]


@pytest.mark.parametrize("threads", [1, 2])
def test_odd_numbers_overlap_nothing(native, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    odd = torch.tensor([float("nan"), float("inf"), -float("inf"), 3e38, 0.0, 5.0])
    generator = torch.Generator().manual_seed(0)
    candidates = odd[torch.randint(6, (3000, 4), generator=generator)]
    objects = torch.tensor([[0.0, 0, 10, 10], [2, 2, 7, 7]])
    result = best_overlaps(candidates, objects, torch.tensor([0, 2]), of_objects=True)
    torch.set_num_threads(before)
    assert torch.equal(result.overlaps[0], box_iou(objects, candidates).amax(dim=0))
    assert result.overlaps.isfinite().all()


def test_bounds_outside_of_the_objects_are_harmless(implementation):
    candidates = torch.tensor([[0.0, 0, 10, 10]])
    for bounds in ([-5, 7], [2, 1, 0], [2**62, -(2**62)]):
        best_overlaps(candidates, candidates, torch.tensor(bounds), of_objects=True)


def test_float64_stays(implementation):
    boxes = torch.tensor([[0.0, 0, 3, 1]], dtype=torch.float64)
    result = best_overlaps(boxes, torch.tensor([[0.0, 0, 1, 1]]), torch.tensor([0, 1]))
    assert result.overlaps.dtype == torch.float64
    assert result.overlaps.item() == pytest.approx(1 / 3, abs=1e-15)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"candidates": torch.zeros(3)}, r"candidates must have shape \(P, 4\), got \(3,\)"),
        ({"boxes": torch.zeros(3, 4).long()}, "boxes must be floating point"),
        ({"bounds": torch.zeros(0).long()}, "bounds must have one number more than there are images, got none"),
        ({"bounds": torch.zeros(2)}, "bounds and image_index must be int64"),
        ({"image_index": torch.zeros(2).long()}, r"image_index must have shape \(3,\), got \(2,\)"),
        ({"measure": "giou"}, "measure must be one of iou, coverage, got 'giou'"),
    ],
)
def test_input_errors_name_the_argument(change, message):
    arguments = {"candidates": torch.zeros(3, 4), "boxes": torch.zeros(1, 4), "bounds": torch.tensor([0, 1]), **change}
    with pytest.raises(InputError, match=message):
        best_overlaps(**arguments)


def test_operator_registration(native):
    boxes, objects, bounds, images = batch_of([3, 2], 20, 0)
    for of_images in (None, images):
        for of_objects in (False, True):
            arguments = (boxes, of_images, objects, bounds, "iou", of_objects)
            torch.library.opcheck(torch.ops.detkit.best_overlaps.default, arguments)


@pytest.mark.gpu
@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize(("counts", "candidates"), CASES)
def test_cuda_equals_cpu(cuda, counts, candidates, flat):
    boxes, objects, bounds, images = batch_of(counts, candidates, 0)
    for measure in ("iou", "coverage"):
        arguments = (boxes, objects, bounds, images if flat else None)
        expected = best_overlaps(*arguments, measure, of_objects=True)
        on_device = [None if tensor is None else tensor.to(cuda) for tensor in arguments]
        for result, of_cpu in zip(best_overlaps(*on_device, measure, of_objects=True), expected, strict=True):
            assert torch.equal(result.cpu(), of_cpu)
