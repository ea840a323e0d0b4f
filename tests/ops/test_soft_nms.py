import math

import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from detkit.errors import InputError
from detkit.ops import batched_nms, nms, soft_nms
from detkit.ops.soft_nms import soft_nms_reference

METHODS = ["linear", "gaussian", "hard"]


def random_boxes(count: int, seed: int, extent: float = 300, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator, dtype=dtype) * extent
    return torch.cat([corner, corner + 2 + torch.rand(count, 2, generator=generator, dtype=dtype) * 80], 1)


def random_scores(count: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def exact(boxes: Tensor, scores: Tensor, method: str, threshold: float = 0.3, labels: Tensor | None = None):
    """The reference in float64."""
    return soft_nms_reference(boxes.double(), scores.double(), labels, threshold, 0.5, method, 0.001)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("count", [0, 1, 2, 63, 64, 65, 200])
@pytest.mark.parametrize("method", METHODS)
def test_equals_the_reference_in_float64(implementation, method, count, seed):
    for extent in (50, 300, 2000):
        boxes, scores = random_boxes(count, seed, extent), random_scores(count, seed + 100)
        kept, kept_scores = soft_nms(boxes, scores, method=method)
        expected, expected_scores = exact(boxes, scores, method)
        assert torch.equal(kept, expected)
        torch.testing.assert_close(kept_scores.double(), expected_scores, rtol=2e-5, atol=0)
        assert (kept_scores.diff() <= 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_many_boxes_equal_the_reference(native, method):
    boxes, scores = random_boxes(1500, 0, 1500, torch.float64), random_scores(1500, 1, torch.float64)
    kept, kept_scores = soft_nms(boxes, scores, method=method)
    expected, expected_scores = exact(boxes, scores, method)
    assert torch.equal(kept, expected)
    torch.testing.assert_close(kept_scores, expected_scores, rtol=1e-12, atol=0)


def test_by_hand(implementation):
    # The second overlaps the first by 1/2 and the third by 1/3; the first and the third do not meet.
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 20], [0, 10, 10, 20], [50, 50, 60, 60]])
    boxes[1, 3], scores = 20, torch.tensor([0.9, 0.8, 0.3, 0.39])
    kept, kept_scores = soft_nms(boxes, scores, 0.3, method="linear")
    assert kept.tolist() == [0, 1, 3, 2]
    torch.testing.assert_close(kept_scores, torch.tensor([0.9, 0.8 * 0.5, 0.39, 0.3 * 0.5]))
    kept, kept_scores = soft_nms(boxes, scores, 0.6, method="linear")
    assert kept.tolist() == [0, 1, 3, 2]
    assert torch.equal(kept_scores, torch.tensor([0.9, 0.8, 0.39, 0.3]))
    decay = math.exp(-(0.5**2) / 0.4)
    kept, kept_scores = soft_nms(boxes, scores, sigma=0.4, method="gaussian")
    assert kept.tolist() == [0, 1, 3, 2]
    torch.testing.assert_close(kept_scores, torch.tensor([0.9, 0.8 * decay, 0.39, 0.3 * decay]))
    assert soft_nms(boxes, scores, 0.3, method="hard")[0].tolist() == [0, 3, 2]


def test_a_score_below_the_threshold_goes(implementation):
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5], [50, 50, 60, 60], [70, 70, 80, 80]])
    scores = torch.tensor([0.9, 0.8, 0.4, 0.3])
    assert soft_nms(boxes, scores, 0.3, score_threshold=0.4)[0].tolist() == [0, 1, 2]
    assert soft_nms(boxes, scores, 0.3, score_threshold=0.41)[0].tolist() == [0]
    assert soft_nms(boxes, scores, 0.9, score_threshold=0.8)[0].tolist() == [0, 1]  # as a float, 0.8 is above 0.8
    assert soft_nms(boxes, scores, 0.9, score_threshold=0.9)[0].tolist() == []  # and 0.9 is below 0.9
    assert soft_nms(boxes, scores, 0.3, score_threshold=0.95)[0].tolist() == []


def test_equal_scores_are_taken_by_index(implementation):
    boxes = random_boxes(150, 0, 5000)
    scores = torch.tensor([0.5, 0.25, 0.75]).repeat(50)
    kept, _ = soft_nms(boxes, scores, 0.9)
    assert torch.equal(kept, torch.argsort(scores, descending=True, stable=True))


@pytest.mark.parametrize("seed", range(3))
def test_hard_is_nms(implementation, seed):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.randint(0, 12, (300, 2), generator=generator)  # many IoUs that are exactly the threshold
    boxes = torch.cat([corner, corner + torch.randint(0, 8, (300, 2), generator=generator)], 1).float()
    scores, labels = torch.randn(300, generator=generator), torch.randint(0, 4, (300,), generator=generator)
    for threshold in (0.0, 0.3, 0.5, 0.75):
        kept, kept_scores = soft_nms(boxes, scores, threshold, method="hard", score_threshold=-math.inf)
        assert torch.equal(kept, torchvision.ops.nms(boxes, scores, threshold))
        assert torch.equal(kept_scores, scores[kept])
        kept, _ = soft_nms(boxes, scores, threshold, method="hard", score_threshold=-math.inf, labels=labels)
        assert torch.equal(kept, batched_nms(boxes, scores, labels, threshold))


@given(
    rows=st.lists(st.tuples(*[st.integers(-6, 6)] * 4, st.integers(0, 3), st.integers(-1, 1)), max_size=40),
    method=st.sampled_from(METHODS),
    unit=st.sampled_from([1.0, 1e-22, 1e18, 1e30]),
)
def test_native_equals_reference_on_any_boxes(rows, method, unit):
    """Degenerate, inverted, duplicate, underflowing and overflowing boxes included."""
    table = torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)
    boxes, scores, labels = table[:, :4] * unit, table[:, 4] / 4, table[:, 5].long()
    for threshold in (0.0, 0.4):
        expected, expected_scores = soft_nms_reference(boxes, scores, labels, threshold, 0.5, method, 0.01)
        kept, kept_scores = soft_nms(boxes, scores, threshold, 0.5, method, 0.01, labels)
        torch.testing.assert_close(kept_scores, expected_scores, rtol=1e-5, atol=0)
        assert set(kept.tolist()) == set(expected.tolist())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 3e38])
@pytest.mark.parametrize("method", METHODS)
def test_boxes_that_are_not_finite(native, method, value):
    boxes, scores = random_boxes(300, 0), random_scores(300, 1)
    boxes.view(-1)[torch.randint(0, 1200, (60,), generator=torch.Generator().manual_seed(2))] = value
    expected, expected_scores = soft_nms_reference(boxes, scores, None, 0.3, 0.5, method, 0.001)
    kept, kept_scores = soft_nms(boxes, scores, method=method)
    assert torch.equal(kept, expected)
    torch.testing.assert_close(kept_scores, expected_scores, rtol=1e-5, atol=0)


@pytest.mark.parametrize("method", METHODS)
def test_classes_leave_each_other_alone(implementation, method):
    boxes, scores = random_boxes(300, 0, 100), random_scores(300, 1)
    labels = torch.tensor([-(2**40), 7, 2**50])[torch.arange(300) % 3]
    kept, kept_scores = soft_nms(boxes, scores, method=method, labels=labels)
    for label in labels.unique():
        members = torch.where(labels == label)[0]
        alone, alone_scores = soft_nms(boxes[members], scores[members], method=method)
        of_label = labels[kept] == label
        assert torch.equal(kept[of_label], members[alone])
        torch.testing.assert_close(kept_scores[of_label], alone_scores)
    assert (kept_scores.diff() <= 0).all()


def test_results_do_not_depend_on_the_number_of_threads(native):
    boxes, scores, labels = random_boxes(900, 0), random_scores(900, 1), torch.arange(900) % 7
    results, threads = [], torch.get_num_threads()
    for count in (1, 3):
        torch.set_num_threads(count)
        results.append(soft_nms(boxes, scores, labels=labels))
    torch.set_num_threads(threads)
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(implementation, dtype):
    boxes, scores = random_boxes(100, 0).to(dtype), random_scores(100, 1).to(dtype).requires_grad_()
    kept, kept_scores = soft_nms(boxes, scores)
    expected, expected_scores = soft_nms(boxes.float(), scores.float())
    assert kept_scores.dtype == torch.float32
    assert not kept_scores.requires_grad
    assert torch.equal(kept, expected)
    assert torch.equal(kept_scores, expected_scores)


def test_memory_need_not_be_contiguous(native):
    rows, scores = random_boxes(100, 0).repeat_interleave(2, 1), random_scores(200, 1)
    kept, _ = soft_nms(rows[:, ::2], scores[::2])
    assert torch.equal(kept, soft_nms(random_boxes(100, 0), scores[::2].clone())[0])


def test_input_errors_name_the_argument(implementation):
    boxes, scores = torch.zeros(3, 4), torch.zeros(3)
    with pytest.raises(InputError, match=r"boxes must have shape \(N, 4\), got \(3, 5\)"):
        soft_nms(torch.zeros(3, 5), scores)
    with pytest.raises(InputError, match=r"scores must have shape \(3,\), got \(2,\)"):
        soft_nms(boxes, scores[:2])
    with pytest.raises(InputError, match="scores must not be NaN"):
        soft_nms(boxes, scores * float("nan"))
    with pytest.raises(InputError, match=r"labels must be integers, got torch\.float32"):
        soft_nms(boxes, scores, labels=scores)
    with pytest.raises(InputError, match="method must be one of linear, gaussian, hard, got 'cubic'"):
        soft_nms(boxes, scores, method="cubic")
    with pytest.raises(InputError, match=r"iou_threshold must not be negative, got -0\.1"):
        soft_nms(boxes, scores, -0.1)
    with pytest.raises(InputError, match="sigma must be positive, got 0"):
        soft_nms(boxes, scores, sigma=0)
    with pytest.raises(InputError, match="score_threshold must not be negative"):
        soft_nms(boxes, scores, score_threshold=-1.0)


@pytest.mark.parametrize("method", METHODS)
def test_operator_registration(native, method):
    for labels in (None, torch.arange(20) % 2):
        arguments = (random_boxes(20, 0), random_scores(20, 1), labels, 0.3, 0.5, method, 0.001)
        torch.library.opcheck(torch.ops.detkit.soft_nms.default, arguments)


def test_compiles_as_one_graph(native):
    boxes, scores = random_boxes(100, 0), random_scores(100, 1)

    def weighted(boxes, scores):
        kept, kept_scores = soft_nms(boxes, scores, method="gaussian")
        return boxes[kept] * kept_scores[:, None]

    compiled = torch.compile(weighted, fullgraph=True, backend="eager")
    assert torch.equal(compiled(boxes, scores), weighted(boxes, scores))


@pytest.mark.gpu
@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 3000])
@pytest.mark.parametrize("method", METHODS)
def test_cuda_equals_cpu(cuda, method, count):
    boxes = random_boxes(count, 0, dtype=torch.float64)
    scores = random_scores(count, 1, torch.float64)
    for labels in (None, torch.arange(count) % 5):
        kept, kept_scores = soft_nms(
            boxes.to(cuda), scores.to(cuda), method=method, labels=None if labels is None else labels.to(cuda)
        )
        expected, expected_scores = soft_nms(boxes, scores, method=method, labels=labels)
        assert torch.equal(kept.cpu(), expected)
        torch.testing.assert_close(kept_scores.cpu(), expected_scores, rtol=1e-12, atol=0)


@pytest.mark.gpu
def test_cuda_hard_is_nms_in_float32(cuda):
    boxes, scores = random_boxes(2000, 0).to(cuda), random_scores(2000, 1).to(cuda)
    kept, _ = soft_nms(boxes, scores, 0.5, method="hard", score_threshold=-math.inf)
    assert torch.equal(kept, nms(boxes, scores, 0.5))
