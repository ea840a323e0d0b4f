import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from random_regions import crops_and_gradient, random_map, random_rois
from torch import Tensor

from detkit.errors import InputError
from detkit.ops import multilevel_roi_align, roi_align
from detkit.ops.roi_align import roi_align_reference, roi_levels

SAMPLINGS = [(-1, False), (0, True), (1, False), (2, False), (2, True), (3, True)]


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("sampling_ratio", "aligned"), SAMPLINGS)
@pytest.mark.parametrize(("channels", "output_size"), [(1, 1), (3, (2, 5)), (40, 7), (100, (14, 3))])
def test_forward_and_backward_equal_torchvision(
    implementation, channels, output_size, sampling_ratio, aligned, memory_format
):
    """float32 against torchvision's float64."""
    features = random_map(2, channels, 17, 23).to(memory_format=memory_format)
    rois, arguments = random_rois(60, 2, 300, seed=1), (output_size, 1 / 16, sampling_ratio, aligned)
    crops, gradient = crops_and_gradient(roi_align, features, rois, *arguments)
    exact = crops_and_gradient(torchvision.ops.roi_align, features.double(), rois.double(), *arguments)
    torch.testing.assert_close(crops.double(), exact[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient.double(), exact[1], rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("sampling_ratio", "aligned"), SAMPLINGS)
def test_float64_equals_torchvision(implementation, sampling_ratio, aligned, seed):
    features = random_map(2, 5, 30, 20, seed=seed, dtype=torch.float64)
    rois = random_rois(80, 2, 120, seed, torch.float64)
    crops = roi_align(features, rois, 7, 0.25, sampling_ratio, aligned)
    exact = torchvision.ops.roi_align(features, rois, 7, 0.25, sampling_ratio, aligned)
    torch.testing.assert_close(crops, exact, rtol=1e-12, atol=1e-12)


def test_a_linear_map_is_sampled_exactly(implementation):
    """The average over a bin of a linear function is its value at the bin's center."""
    y, x = torch.meshgrid(torch.arange(20.0), torch.arange(30.0), indexing="ij")
    features = (3 * x + 5 * y)[None, None]
    rois = torch.tensor([[0, 8.0, 4.0, 24.0, 12.0]])  # cells 4..12 by 2..6 at stride 2
    crops = roi_align(features, rois, (2, 4), 0.5, aligned=True)
    centers_x, centers_y = 4 + torch.tensor([1.0, 3, 5, 7]) - 0.5, 2 + torch.tensor([1.0, 3]) - 0.5
    torch.testing.assert_close(crops[0, 0], 3 * centers_x[None] + 5 * centers_y[:, None])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_half_precision_features_are_summed_in_float32(implementation, dtype, memory_format):
    features = random_map(2, 20, 17, 23).to(dtype).to(memory_format=memory_format).requires_grad_()
    rois = random_rois(40, 2, 300, seed=1)
    wide = features.detach().float().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        crops = roi_align(features, rois, 7, 1 / 16, 2)
    exact = roi_align(wide, rois, 7, 1 / 16, 2)
    assert crops.dtype == dtype
    torch.testing.assert_close(crops, exact.to(dtype), rtol=0, atol=0)
    (gradient,) = torch.autograd.grad(crops.sum(), features)
    (exact_gradient,) = torch.autograd.grad(exact.sum(), wide)
    assert gradient.dtype == dtype
    torch.testing.assert_close(gradient.float(), exact_gradient, rtol=1e-2, atol=1e-2)


def test_memory_format_is_kept(native):
    rois = random_rois(5, 2, 100, seed=0)
    features = random_map(2, 8, 9, 9).to(memory_format=torch.channels_last).requires_grad_()
    crops = roi_align(features, rois, 7, 1 / 16)
    assert crops.is_contiguous(memory_format=torch.channels_last)
    (gradient,) = torch.autograd.grad(crops.sum(), features)
    assert gradient.is_contiguous(memory_format=torch.channels_last)
    assert roi_align(features.detach().contiguous(), rois, 7, 1 / 16).is_contiguous()


def test_memory_need_not_be_contiguous(native):
    rois = random_rois(20, 2, 100, seed=0)
    wide = random_map(2, 8, 18, 9)
    torch.testing.assert_close(
        roi_align(wide[:, 1::2, ::2], rois, 7, 1 / 16), roi_align(wide[:, 1::2, ::2].clone(), rois, 7, 1 / 16)
    )


@pytest.mark.parametrize("images", [0, 2])
def test_no_regions(implementation, images):
    features = random_map(images, 4, 8, 8).requires_grad_()
    crops = roi_align(features, torch.zeros(0, 5), 7, 1 / 8)
    assert crops.shape == (0, 4, 7, 7)
    (gradient,) = torch.autograd.grad(crops.sum(), features)
    assert torch.equal(gradient, torch.zeros_like(features))


def test_no_channels(implementation):
    assert roi_align(torch.zeros(1, 0, 8, 8), torch.zeros(3, 5), 7).shape == (3, 0, 7, 7)


@settings(deadline=None, max_examples=150)
@given(
    rows=st.lists(st.tuples(*[st.integers(-30, 60)] * 4), min_size=1, max_size=6),
    sampling=st.sampled_from(SAMPLINGS),
    shape=st.tuples(st.integers(1, 6), st.integers(1, 6)),
)
def test_any_region_is_treated_as_torchvision_does(rows, sampling, shape):
    """Empty, inverted and far away ones included, on maps down to a single cell."""
    corners = torch.tensor(rows).reshape(-1, 2, 2)
    if sampling == (0, True):  # torchvision fails on inverted regions here
        corners = corners.sort(1).values
    rois = torch.cat([torch.zeros(len(rows), 1), corners.flatten(1)], 1).double()
    features = random_map(1, 3, *shape, dtype=torch.float64)
    expected = torchvision.ops.roi_align(features, rois, (2, 3), 0.25, *sampling)
    torch.testing.assert_close(roi_align(features, rois, (2, 3), 0.25, *sampling), expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(
        roi_align_reference(features, rois, (2, 3), 0.25, *sampling), expected, rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e30])
def test_regions_that_are_not_finite_give_no_crash(implementation, value):
    rois = torch.tensor([[0, 0, 0, value, value], [0, value, value, value, value], [0, 0, 0, 4, 4]])
    for sampling_ratio in (-1, 2):
        crops = roi_align(torch.ones(1, 2, 8, 8), rois, 3, 1.0, sampling_ratio)
        assert crops.isfinite().all()
        assert torch.equal(crops[2], torch.ones(2, 3, 3))


def test_gradients_are_those_of_the_difference_quotient(implementation):
    features = random_map(2, 2, 5, 6, dtype=torch.float64).requires_grad_()
    rois = random_rois(4, 2, 40, 0, torch.float64)
    for aligned in (False, True):
        assert torch.autograd.gradcheck(lambda f, a=aligned: roi_align(f, rois, (2, 3), 1 / 8, 2, a), features)
    assert torch.autograd.gradgradcheck(lambda f: roi_align(f, rois, (2, 3), 1 / 8, 2), features)


def test_gradients_do_not_depend_on_the_number_of_threads(native):
    features = random_map(1, 70, 30, 30).requires_grad_()
    rois = random_rois(200, 1, 480, seed=0)
    gradients = []
    threads = torch.get_num_threads()
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        gradients.append(torch.autograd.grad(roi_align(features, rois, 7, 1 / 16, 2).square().sum(), features)[0])
    torch.set_num_threads(threads)
    assert torch.equal(gradients[0], gradients[1])
    assert torch.equal(gradients[0], gradients[2])


@pytest.mark.parametrize("image", [-1, 2])
def test_an_image_that_is_not_there_is_refused(implementation, image):
    rois = torch.tensor([[0, 0, 0, 4, 4], [image, 0, 0, 4, 4]], dtype=torch.float32)
    with pytest.raises(RuntimeError, match=r"rois.* image"):
        roi_align(random_map(2, 3, 8, 8), rois, 7)


def test_input_errors_name_the_tensor(implementation):
    features, rois = random_map(1, 3, 8, 8), torch.zeros(2, 5)
    with pytest.raises(InputError, match=r"rois must have shape \(K, 5\), got \(2, 4\)"):
        roi_align(features, rois[:, 1:], 7)
    with pytest.raises(InputError, match=r"features must have shape \(B, C, H, W\), got \(3, 8, 8\)"):
        roi_align(features[0], rois, 7)
    with pytest.raises(InputError, match=r"features must have height and width"):
        roi_align(features[:, :, :0], rois, 7)
    with pytest.raises(InputError, match=r"output_size must be"):
        roi_align(features, rois, (7, 0))
    with pytest.raises(InputError, match=r"features and spatial_scales must match, got 1 maps, 2 scales"):
        multilevel_roi_align([features], rois, 7, [0.25, 0.125])
    with pytest.raises(InputError, match=r"features must share batch, channels and dtype.* at level 1"):
        multilevel_roi_align([features, features[:, :2]], rois, 7, [0.25, 0.125])
    with pytest.raises(InputError, match=r"spatial_scales must be each half of the one before"):
        multilevel_roi_align([features, features], rois, 7, [0.25, 0.2])


def test_strides_between_powers_of_two(implementation):
    """Strides 6 and 12, as OverFeat's net has: a side of 112 pixels and more belongs on the coarser level."""
    maps = [random_map(2, 3, 40, 48, seed=1), random_map(2, 3, 20, 24, seed=2)]
    rois = torch.tensor([[0.0, 10, 5, 60, 70], [1, 20, 30, 140, 150], [1, 3, 4, 30, 30], [0, 0, 0, 111, 111]])
    crops = multilevel_roi_align(maps, rois, 5, [1 / 6, 1 / 12], 2, aligned=True)
    for row, level in enumerate([0, 1, 0, 0]):
        expected = roi_align(maps[level], rois[row : row + 1], 5, [1 / 6, 1 / 12][level], 2, aligned=True)
        torch.testing.assert_close(crops[row : row + 1], expected)


def pyramid(channels: int = 6, images: int = 2, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Four levels of strides 4, 8, 16, 32 over images of 192 x 256 pixels."""
    return [random_map(images, channels, 192 // s, 256 // s, seed=s, dtype=dtype) for s in (4, 8, 16, 32)]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("sampling_ratio", [2, -1])
def test_multilevel_equals_torchvision(implementation, sampling_ratio, seed):
    rois = random_rois(150, 2, 250, seed).clamp(min=0)
    rois = rois[rois[:, 0].argsort(stable=True)]  # torchvision takes the regions image by image
    features = [level.requires_grad_() for level in pyramid()]
    pooler = torchvision.ops.MultiScaleRoIAlign(["0", "1", "2", "3"], 7, sampling_ratio)
    by_image = [rois[rois[:, 0] == image, 1:] for image in (0, 1)]
    expected = pooler({str(i): level for i, level in enumerate(features)}, by_image, [(192, 256), (192, 256)])
    crops = multilevel_roi_align(features, rois, 7, [1 / 4, 1 / 8, 1 / 16, 1 / 32], sampling_ratio)
    torch.testing.assert_close(crops, expected, rtol=1e-5, atol=1e-5)

    weights = torch.randn(crops.shape, generator=torch.Generator().manual_seed(seed))
    gradients = torch.autograd.grad((crops * weights).sum(), features)
    expected_gradients = torch.autograd.grad((expected * weights).sum(), features)
    torch.testing.assert_close(gradients, expected_gradients, rtol=1e-4, atol=1e-4)


def test_levels_at_their_borders(implementation):
    """A square region of 224 pixels is of level 4, that is stride 16; half the side is one level finer."""
    sides = torch.tensor([1.0, 111.9, 112.0, 223.9, 224.0, 447.9, 448.0, 1e5, 0.0, -5.0])
    rois = torch.stack([torch.zeros(10), torch.zeros(10), torch.zeros(10), sides, sides.abs()], 1)
    assert roi_levels(rois, [1 / 4, 1 / 8, 1 / 16, 1 / 32], 224, 4).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 0, 0]
    assert roi_levels(rois, [1 / 8, 1 / 16], 224, 4).tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 0, 0]


@pytest.mark.parametrize("seed", range(3))
def test_levels_equal_torchvision(seed):
    rois = random_rois(2000, 1, 800, seed).clamp(min=0)
    mapper = torchvision.ops.poolers.LevelMapper(2, 5)
    assert torch.equal(roi_levels(rois, [1 / 4, 1 / 8, 1 / 16, 1 / 32], 224, 4), mapper([rois[:, 1:]]))


def test_multilevel_without_regions(implementation):
    features = [level.requires_grad_() for level in pyramid()]
    crops = multilevel_roi_align(features, torch.zeros(0, 5), 7, [1 / 4, 1 / 8, 1 / 16, 1 / 32])
    assert crops.shape == (0, 6, 7, 7)
    for gradient in torch.autograd.grad(crops.sum(), features):
        assert not gradient.any()


def test_multilevel_gradients_are_those_of_the_difference_quotient(implementation):
    features = [random_map(2, 2, size, size, seed=size, dtype=torch.float64).requires_grad_() for size in (6, 3)]
    rois = torch.tensor([[1, 0, 0, 10, 12], [0, 0, 0, 100, 110], [0, 5, 5, 9, 9]], dtype=torch.float64)
    scales = [1 / 16, 1 / 32]

    def pool(*maps):
        return multilevel_roi_align(maps, rois, 2, scales, 2, canonical_size=64, canonical_level=5)

    assert set(roi_levels(rois, scales, 64, 5).tolist()) == {0, 1}
    assert torch.autograd.gradcheck(pool, features)


def test_operator_registration(native):
    rois = random_rois(6, 2, 200, seed=0)
    assert set(roi_levels(rois, [1 / 16, 1 / 32], 64, 4).tolist()) == {0, 1}
    for memory_format in (torch.contiguous_format, torch.channels_last):
        features = [random_map(2, 3, size, size).to(memory_format=memory_format).requires_grad_() for size in (12, 6)]
        arguments = (rois, [1 / 16, 1 / 32], 64.0, 4, 2, 3, 2, False, memory_format is torch.channels_last)
        torch.library.opcheck(torch.ops.detkit.roi_align.default, (features, *arguments))


def test_compiles_as_one_graph(native):
    rois = random_rois(6, 2, 200, seed=0)
    features = [level.requires_grad_() for level in pyramid()]

    def pool(features, rois):
        scales = [1 / 4, 1 / 8, 1 / 16, 1 / 32]
        return multilevel_roi_align([f * 2 for f in features], rois, 7, scales) + roi_align(
            features[2], rois, 7, 1 / 16
        )

    compiled = torch.compile(pool, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(features, rois), pool(features, rois))
    gradients = torch.autograd.grad(compiled(features, rois).square().sum(), features)
    torch.testing.assert_close(gradients, torch.autograd.grad(pool(features, rois).square().sum(), features))
    more = random_rois(9, 2, 200, seed=1)
    torch.testing.assert_close(compiled(features, more), pool(features, more))


@pytest.mark.gpu
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("sampling_ratio", "aligned"), SAMPLINGS)
def test_cuda_equals_cpu(cuda, sampling_ratio, aligned, dtype, memory_format):
    rois = random_rois(100, 2, 250, seed=0)
    results = []
    for device in ("cpu", cuda):
        features = [
            level.to(device).to(memory_format=memory_format).requires_grad_() for level in pyramid(40, dtype=dtype)
        ]
        scales = [1 / 4, 1 / 8, 1 / 16, 1 / 32]
        crops = multilevel_roi_align(features, rois.to(device), (7, 5), scales, sampling_ratio, aligned)
        gradients = torch.autograd.grad(crops.float().square().sum(), features)
        results.append([tensor.detach().cpu() for tensor in (crops, *gradients)])
    tolerance = {torch.float64: 1e-9, torch.float32: 1e-4}.get(dtype, 5e-2)
    torch.testing.assert_close(results[1], results[0], rtol=tolerance, atol=tolerance)


@pytest.mark.gpu
def test_cuda_without_regions(cuda):
    features = [level.to(cuda).requires_grad_() for level in pyramid()]
    crops = multilevel_roi_align(features, torch.zeros(0, 5, device=cuda), 7, [1 / 4, 1 / 8, 1 / 16, 1 / 32])
    assert crops.shape == (0, 6, 7, 7)
    assert not any(gradient.any() for gradient in torch.autograd.grad(crops.sum(), features))
