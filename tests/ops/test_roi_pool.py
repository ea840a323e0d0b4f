import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from random_regions import crops_and_gradient, random_map, random_rois
from torch import Tensor

from detkit.errors import InputError
from detkit.ops import roi_pool
from detkit.ops.roi_pool import LEAST_FEATURE, roi_pool_reference

FORMATS = [torch.contiguous_format, torch.channels_last]


def few_values(*shape: int, seed: int = 0) -> Tensor:
    """A map on which most bins have several greatest features."""
    return torch.randint(-1, 2, shape, generator=torch.Generator().manual_seed(seed)).float()


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("make_map", [random_map, few_values])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("channels", "output_size"), [(1, 1), (3, (2, 5)), (40, 4), (100, (7, 3))])
def test_forward_and_backward_are_torchvisions(implementation, channels, output_size, dtype, make_map, memory_format):
    """To the last bit: which of equal features gets the gradient, and the order of its sum, included."""
    features = make_map(2, channels, 17, 23).to(dtype).to(memory_format=memory_format)
    rois, arguments = random_rois(40, 2, 300, seed=1, dtype=dtype), (output_size, 1 / 16)
    crops, gradient = crops_and_gradient(roi_pool, features, rois, *arguments)
    expected = crops_and_gradient(torchvision.ops.roi_pool, features.contiguous(), rois, *arguments)
    assert torch.equal(crops, expected[0])
    tolerance = 0 if implementation == "native" else 1e-5
    torch.testing.assert_close(gradient, expected[1], rtol=tolerance, atol=tolerance)


@settings(max_examples=200)
@given(
    rows=st.lists(st.tuples(*[st.integers(-60, 120)] * 4), min_size=1, max_size=6),
    shape=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    scale=st.sampled_from([1.0, 0.5, 0.25, 0.1, 0.3, 0.7, 1 / 3, 3.0]),
    unit=st.sampled_from([1.0, 0.5, 0.1]),
)
def test_any_region_is_treated_as_torchvision_does(rows, shape, scale, unit):
    """Empty, inverted and far away ones included, and corners half way between two cells."""
    for dtype in (torch.float32, torch.float64):
        rois = torch.cat([torch.zeros(len(rows), 1), torch.tensor(rows)], 1).to(dtype) * unit
        features = random_map(1, 3, *shape, dtype=dtype)
        expected = torchvision.ops.roi_pool(features, rois, (2, 3), scale)
        assert torch.equal(roi_pool(features, rois, (2, 3), scale), expected)
        assert torch.equal(roi_pool_reference(features, rois, (2, 3), scale), expected)


def test_by_hand(implementation):
    features = torch.arange(20.0).reshape(1, 1, 4, 5)
    # Corners at cells 0.5 and 3.5 are rounded to 1 and 4: four columns in two bins; rows 0 to 2 share row 1.
    crops = roi_pool(features, torch.tensor([[0, 1.0, 0.0, 7.0, 4.0]]), 2, 0.5)
    assert crops.tolist() == [[[[7, 9], [12, 14]]]]
    # Of a region half beyond the map, the bins there are zero, also where features are negative.
    crops = roi_pool(-1 - features, torch.tensor([[0, 3.0, 0.0, 6.0, 0.0]]), (1, 2), 1.0)
    assert crops.tolist() == [[[[-4, 0]]]]


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_nan_is_passed_over_as_in_torchvision(implementation, value):
    features = random_map(1, 20, 6, 6)
    features[0, :, :2, :4] = value
    features.requires_grad_()
    rois = torch.tensor([[0, 0, 0, 5, 5], [0, 0, 0, 2, 1], [0, 1, 1, 4, 3.0]])
    crops = roi_pool(features, rois, 2)
    assert torch.equal(crops, torchvision.ops.roi_pool(features.detach(), rois, 2))
    assert (crops[1] == LEAST_FEATURE).all()
    (gradient,) = torch.autograd.grad(crops.sum(), features)
    assert not gradient[0, :, :2, :4].any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("memory_format", FORMATS)
def test_half_precision(implementation, dtype, memory_format):
    """The maximum is exact; the gradient is summed in float32."""
    features = random_map(2, 20, 17, 23).to(dtype).to(memory_format=memory_format).requires_grad_()
    wide = features.detach().float().requires_grad_()
    rois = random_rois(40, 2, 300, seed=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        crops = roi_pool(features, rois, 7, 1 / 16)
    exact = roi_pool(wide, rois, 7, 1 / 16)
    assert crops.dtype == dtype
    assert torch.equal(crops, exact.to(dtype))
    (gradient,) = torch.autograd.grad(crops.sum(), features)
    (exact_gradient,) = torch.autograd.grad(exact.sum(), wide)
    assert gradient.dtype == dtype
    torch.testing.assert_close(gradient.float(), exact_gradient, rtol=1e-2, atol=1e-2)


def test_memory_format_is_kept(native):
    rois = random_rois(5, 2, 100, seed=0)
    features = random_map(2, 8, 9, 9).to(memory_format=torch.channels_last).requires_grad_()
    crops = roi_pool(features, rois, 7, 1 / 16)
    assert crops.is_contiguous(memory_format=torch.channels_last)
    (gradient,) = torch.autograd.grad(crops.sum(), features)
    assert gradient.is_contiguous(memory_format=torch.channels_last)
    assert roi_pool(features.detach().contiguous(), rois, 7, 1 / 16).is_contiguous()


def test_memory_need_not_be_contiguous(native):
    wide, rois = random_map(2, 8, 18, 9), random_rois(20, 2, 100, seed=0).T.contiguous().T
    features = wide[:, 1::2, ::2].requires_grad_()
    crops = roi_pool(features, rois, 7, 1 / 16)
    assert torch.equal(crops, torchvision.ops.roi_pool(features.contiguous(), rois.contiguous(), 7, 1 / 16))
    weights = random_map(7, 7, 4, 20).permute(3, 2, 0, 1)
    (gradient,) = torch.autograd.grad((crops * weights).sum(), features)
    (expected,) = torch.autograd.grad((roi_pool_reference(features, rois, (7, 7), 1 / 16) * weights).sum(), features)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("images", [0, 2])
def test_no_regions(implementation, images):
    features = random_map(images, 4, 8, 8).requires_grad_()
    crops = roi_pool(features, torch.zeros(0, 5), 7, 1 / 8)
    assert crops.shape == (0, 4, 7, 7)
    (gradient,) = torch.autograd.grad(crops.sum(), features)
    assert torch.equal(gradient, torch.zeros_like(features))


def test_no_channels(implementation):
    assert roi_pool(torch.zeros(1, 0, 8, 8), torch.zeros(3, 5), 7).shape == (3, 0, 7, 7)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e30])
def test_regions_that_are_not_finite_give_no_crash(implementation, value):
    rois = torch.tensor([[0, 0, 0, value, value], [0, value, value, value, value], [0, 0, 0, 4, 4]])
    crops = roi_pool(torch.ones(1, 2, 8, 8), rois, 3)
    assert ((crops == 0) | (crops == 1)).all()
    assert not crops[1].any()
    assert torch.equal(crops[2], torch.ones(2, 3, 3))


def test_gradients_are_those_of_the_difference_quotient(implementation):
    features = random_map(2, 2, 3, 4, dtype=torch.float64).requires_grad_()
    rois = random_rois(3, 2, 30, 0, torch.float64)
    for memory_format in FORMATS:

        def pool(features, memory_format=memory_format):
            return roi_pool(features.contiguous(memory_format=memory_format), rois, (2, 1), 1 / 8)

        assert torch.autograd.gradcheck(pool, features)
        assert torch.autograd.gradgradcheck(pool, features)


def test_results_do_not_depend_on_the_number_of_threads(native):
    features = random_map(1, 70, 30, 30).requires_grad_()
    rois = random_rois(200, 1, 480, seed=0)
    results, threads = [], torch.get_num_threads()
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        crops = roi_pool(features, rois, 7, 1 / 16)
        results.append((crops, *torch.autograd.grad(crops.square().sum(), features)))
    torch.set_num_threads(threads)
    for crops, gradient in results[1:]:
        assert torch.equal(crops, results[0][0])
        assert torch.equal(gradient, results[0][1])


@pytest.mark.parametrize("image", [-1, 2, float("nan")])
def test_an_image_that_is_not_there_is_refused(implementation, image):
    rois = torch.tensor([[0, 0, 0, 4, 4], [image, 0, 0, 4, 4]], dtype=torch.float32)
    with pytest.raises(RuntimeError, match=r"rois.* image"):
        roi_pool(random_map(2, 3, 8, 8), rois, 7)


def test_input_errors_name_the_tensor(implementation):
    features, rois = random_map(1, 3, 8, 8), torch.zeros(2, 5)
    with pytest.raises(InputError, match=r"rois must have shape \(K, 5\), got \(2, 4\)"):
        roi_pool(features, rois[:, 1:], 7)
    with pytest.raises(InputError, match=r"features must have shape \(B, C, H, W\), got \(3, 8, 8\)"):
        roi_pool(features[0], rois, 7)
    with pytest.raises(InputError, match=r"features must be floating point"):
        roi_pool(features.int(), rois, 7)
    with pytest.raises(InputError, match=r"features must have height and width"):
        roi_pool(features[:, :, :0], rois, 7)
    with pytest.raises(InputError, match=r"output_size must be"):
        roi_pool(features, rois, (7, 0))


@pytest.mark.parametrize("memory_format", FORMATS)
def test_operator_registration(native, memory_format):
    features = random_map(2, 3, 12, 12).to(memory_format=memory_format).requires_grad_()
    channels_last = memory_format is torch.channels_last
    rois = random_rois(6, 2, 200, seed=0)
    torch.library.opcheck(torch.ops.detkit.roi_pool.default, (features, rois, 1 / 16, 2, 3, channels_last))
    cells = torch.ops.detkit.roi_pool(features, rois, 1 / 16, 2, 3, channels_last)[1]
    gradient = random_map(6, 3, 2, 3).to(memory_format=memory_format).requires_grad_()
    torch.library.opcheck(torch.ops.detkit.roi_pool_backward.default, (gradient, cells, rois, 2, 12, 12, channels_last))


def test_compiles_as_one_graph(native):
    features = random_map(2, 6, 12, 16).requires_grad_()

    def pool(features, rois):
        return roi_pool(features * 2, rois, 7, 1 / 16).square()

    compiled = torch.compile(pool, fullgraph=True, backend="aot_eager")
    for count in (6, 9):
        rois = random_rois(count, 2, 200, seed=count)
        torch.testing.assert_close(compiled(features, rois), pool(features, rois))
        (gradient,) = torch.autograd.grad(compiled(features, rois).sum(), features)
        torch.testing.assert_close(gradient, torch.autograd.grad(pool(features, rois).sum(), features)[0])


@pytest.mark.gpu
@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("make_map", [random_map, few_values])
@pytest.mark.parametrize("count", [0, 1, 100])
def test_cuda_equals_cpu(cuda, count, make_map, dtype, memory_format):
    rois = random_rois(count, 2, 250, seed=0)
    results = []
    for device in ("cpu", cuda):
        features = make_map(2, 40, 17, 23).to(device, dtype).to(memory_format=memory_format).requires_grad_()
        crops = roi_pool(features, rois.to(device), (7, 5), 1 / 16)
        (gradient,) = torch.autograd.grad(crops.float().square().sum(), features)
        results.append((crops.detach().cpu(), gradient.cpu()))
    assert torch.equal(results[1][0], results[0][0])
    tolerance = {torch.float64: 1e-9, torch.float32: 1e-4}.get(dtype, 5e-2)
    torch.testing.assert_close(results[1][1], results[0][1], rtol=tolerance, atol=tolerance)
