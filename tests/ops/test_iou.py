import math

import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from detkit.errors import InputError
from detkit.ops import box_iou
from detkit.ops.iou import box_iou_reference, paired_iou

MODES = ["iou", "giou", "diou", "ciou"]
TORCHVISION = {
    "iou": torchvision.ops.box_iou,
    "giou": torchvision.ops.generalized_box_iou,
    "diou": torchvision.ops.distance_box_iou,
    "ciou": torchvision.ops.complete_box_iou,
}


def random_boxes(count: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator, dtype=dtype) * 100
    return torch.cat([corner, corner + 1 + torch.rand(count, 2, generator=generator, dtype=dtype) * 60], 1)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0), (1, 1), (3, 17), (50, 33), (700, 100)])
@pytest.mark.parametrize("mode", MODES)
def test_equals_torchvision(implementation, mode, shape, seed):
    boxes1, boxes2 = random_boxes(shape[0], seed), random_boxes(shape[1], seed + 100)
    result = box_iou(boxes1, boxes2, mode)
    assert result.shape == shape
    # torchvision adds 1e-7 to the denominators of its distances.
    torch.testing.assert_close(result, TORCHVISION[mode](boxes1, boxes2), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("mode", MODES)
def test_float32_is_close_to_float64(implementation, mode, seed):
    boxes1, boxes2 = random_boxes(200, seed, torch.float64), random_boxes(200, seed + 100, torch.float64)
    exact = box_iou_reference(boxes1, boxes2, mode)
    torch.testing.assert_close(box_iou(boxes1, boxes2, mode), exact, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(box_iou(boxes1.float(), boxes2.float(), mode).double(), exact, rtol=1e-5, atol=1e-5)


def test_by_hand(implementation):
    box = torch.tensor([[0.0, 0, 4, 2]])
    other = torch.tensor([[2.0, 0, 6, 4]])  # intersection 4, union 20, hull 6 x 4, centers 2 and 1 apart
    assert box_iou(box, other).item() == pytest.approx(0.2)
    assert box_iou(box, other, "giou").item() == pytest.approx(0.2 - 4 / 24)
    assert box_iou(box, other, "diou").item() == pytest.approx(0.2 - 5 / 52)
    disparity = 4 / math.pi**2 * (math.atan(2) - math.atan(1)) ** 2
    expected = 0.2 - 5 / 52 - disparity**2 / (0.8 + disparity)
    assert box_iou(box, other, "ciou").item() == pytest.approx(expected)


@pytest.mark.parametrize("mode", MODES)
def test_degenerate_boxes_give_no_nan(implementation, mode):
    boxes = torch.tensor([[1.0, 1, 1, 1], [1, 1, 1, 5], [1, 1, 5, 1], [0, 0, 4, 4]], requires_grad=True)
    result = box_iou(boxes, boxes, mode)
    assert result.isfinite().all()
    assert result[0, 0] == 0
    assert result[3, 3] == 1
    (gradient,) = torch.autograd.grad(result.sum(), boxes)
    assert gradient.isfinite().all()


@given(st.lists(st.tuples(*[st.integers(0, 8)] * 4), min_size=1, max_size=12))
def test_native_equals_reference_on_any_boxes(rows):
    """Inverted and empty boxes included."""
    boxes = torch.tensor(rows, dtype=torch.float64)
    for mode in MODES:
        torch.testing.assert_close(
            box_iou(boxes, boxes, mode), box_iou_reference(boxes, boxes, mode), rtol=1e-12, atol=1e-12
        )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("mode", MODES)
def test_gradients_equal_those_of_the_reference(native, mode, seed):
    boxes1 = random_boxes(13, seed, torch.float64).requires_grad_()
    boxes2 = random_boxes(7, seed + 100, torch.float64).requires_grad_()
    weights = torch.randn(13, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    expected = torch.autograd.grad((box_iou_reference(boxes1, boxes2, mode) * weights).sum(), (boxes1, boxes2))
    actual = torch.autograd.grad((box_iou(boxes1, boxes2, mode) * weights).sum(), (boxes1, boxes2))
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "mode", ["iou", "giou", "diou"]
)  # ciou holds a factor constant, which no difference quotient does
def test_gradients_are_those_of_the_difference_quotient(implementation, mode):
    boxes1 = random_boxes(4, 0, torch.float64).requires_grad_()
    boxes2 = random_boxes(3, 1, torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: box_iou(a, b, mode), (boxes1, boxes2))


def test_second_derivatives_are_refused(native):
    boxes = random_boxes(3, 0).requires_grad_()
    (gradient,) = torch.autograd.grad(box_iou(boxes, boxes.detach()).sum(), boxes, create_graph=True)
    with pytest.raises(NotImplementedError, match="no second derivative"):
        gradient.sum().backward()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(implementation, dtype):
    boxes = (random_boxes(40, 0) * 30).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = box_iou(boxes, boxes)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, torchvision.ops.box_iou(boxes.float(), boxes.float()))


def test_memory_need_not_be_contiguous(native):
    boxes = random_boxes(9, 0).T.contiguous().T
    torch.testing.assert_close(box_iou(boxes, boxes[::2]), box_iou_reference(boxes, boxes[::2]))


def test_input_errors_name_the_tensor(implementation):
    boxes = random_boxes(3, 0)
    with pytest.raises(InputError, match=r"boxes2 must have shape \(M, 4\), got \(3, 2\)"):
        box_iou(boxes, boxes[:, :2])
    with pytest.raises(InputError, match="boxes1 must be floating point"):
        box_iou(boxes.int(), boxes)
    with pytest.raises(InputError, match="mode must be one of iou, giou, diou, ciou, got 'eiou'"):
        box_iou(boxes, boxes, "eiou")


@pytest.mark.parametrize("mode", MODES)
def test_operator_registration(native, mode):
    boxes1, boxes2 = random_boxes(5, 0).requires_grad_(), random_boxes(4, 1).requires_grad_()
    torch.library.opcheck(torch.ops.detkit.box_iou.default, (boxes1, boxes2, mode))


def test_compiles_as_one_graph(native):
    boxes1, boxes2 = random_boxes(5, 0).requires_grad_(), random_boxes(4, 1)

    def loss(boxes1, boxes2):
        return 1 - box_iou(boxes1 * 2, boxes2, "giou").mean()

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    (actual,) = torch.autograd.grad(compiled(boxes1, boxes2), boxes1)
    (expected,) = torch.autograd.grad(loss(boxes1, boxes2), boxes1)
    torch.testing.assert_close(actual, expected)


@pytest.mark.gpu
@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (1, 1), (700, 333)])
@pytest.mark.parametrize("mode", MODES)
def test_cuda_equals_cpu(cuda, mode, shape):
    results = []
    for device in ("cpu", cuda):
        boxes1 = random_boxes(shape[0], 0).to(device).requires_grad_()
        boxes2 = random_boxes(shape[1], 1).to(device).requires_grad_()
        result = box_iou(boxes1, boxes2, mode)
        gradients = torch.autograd.grad(result.sum(), (boxes1, boxes2))
        results.append([tensor.detach().cpu() for tensor in (result, *gradients)])
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", ["iou", "giou", "diou", "ciou"])
def test_paired_iou_is_the_diagonal(mode):
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(2, 20, 2, generator=generator) * 50
    first, second = torch.cat((corners, corners + torch.rand(2, 20, 2, generator=generator) * 50), dim=2)
    torch.testing.assert_close(paired_iou(first, second, mode), box_iou(first, second, mode).diagonal())
    assert paired_iou(first[:0], second[:0], mode).shape == (0,)
