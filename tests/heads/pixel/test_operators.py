"""The operators that bring a small map back to the size of the image, each by what defines it."""

import itertools

import pytest
import torch
from torch.nn import functional as F

from detkit.errors import InputError
from detkit.heads.pixel.bilinear_upsampling import BilinearUpsampling, bilinear_kernel
from detkit.heads.pixel.segnet import unpool


@pytest.fixture(autouse=True)
def random_seed():
    torch.manual_seed(torch.seed() % 2**31)


def normal(*shape):
    return torch.randn(*shape, dtype=torch.float64)


class TestTransposedConvolution:
    @pytest.mark.parametrize(
        ("kernel", "stride", "padding", "dilation"),
        list(itertools.product((1, 2, 3, 4), (1, 2, 3), (0, 1), (1, 2))),
    )
    def test_it_is_the_adjoint_of_the_convolution(self, kernel, stride, padding, dilation):
        """``<conv x, y> = <x, conv^T y>``, for sizes that the stride does not divide by ``output_padding``."""
        for side in (9, 10, 11):
            x, weight = normal(2, 3, side, side + 1), normal(4, 3, kernel, kernel)
            convolved = F.conv2d(x, weight, None, stride, padding, dilation)
            y = normal(*convolved.shape)
            reach = dilation * (kernel - 1) + 1
            left_over = [(size + 2 * padding - reach) % stride for size in x.shape[2:]]
            back = F.conv_transpose2d(y, weight, None, stride, padding, left_over, 1, dilation)
            assert back.shape == x.shape
            assert torch.allclose((convolved * y).sum(), (x * back).sum(), rtol=1e-10, atol=1e-10)

    def test_2x2_cells_and_a_3x3_kernel_give_4x4(self):
        x, weight = normal(1, 1, 2, 2), normal(1, 1, 3, 3)
        expected = torch.zeros(1, 1, 4, 4, dtype=torch.float64)
        for row, column in itertools.product(range(2), range(2)):
            # Each cell stamps the kernel, times its value.
            expected[..., row : row + 3, column : column + 3] += x[0, 0, row, column] * weight
        assert torch.allclose(F.conv_transpose2d(x, weight), expected)

    def test_it_is_the_transpose_of_the_convolutions_matrix(self):
        weight = normal(1, 1, 3, 3)
        columns = [F.conv2d(one.view(1, 1, 5, 4), weight, stride=2).flatten() for one in torch.eye(20).double()]
        matrix = torch.stack(columns, dim=1)
        y = normal(1, 1, 2, 1)
        expected = (matrix.T @ y.flatten()).view(1, 1, 5, 4)
        assert torch.allclose(F.conv_transpose2d(y, weight, stride=2, output_padding=(0, 1)), expected)


class TestBilinearUpsampling:
    @pytest.mark.parametrize("factor", [2, 4, 8, 16, 32])
    def test_it_begins_as_bilinear_interpolation(self, factor):
        layer = BilinearUpsampling(3, factor, learned=True).double()
        x = normal(2, 3, 4, 5)
        upsampled = layer(x)
        assert upsampled.shape == (2, 3, 5 * factor, 6 * factor)
        expected = F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
        # Half a cell beyond the map on each side, and half a cell inside it, it sums with zeros.
        half = factor // 2
        inside = upsampled[..., 2 * half : -2 * half, 2 * half : -2 * half]
        assert torch.allclose(inside, expected[..., half:-half, half:-half])

    @pytest.mark.parametrize("factor", [2, 3, 8])
    def test_each_cell_is_spread_with_weights_that_add_up(self, factor):
        kernel = bilinear_kernel(factor).double()
        assert kernel.sum() == pytest.approx(factor**2)
        assert torch.allclose(kernel, kernel.T)
        assert torch.allclose(kernel, kernel.flip(0, 1))

    @pytest.mark.parametrize("factor", [0, 1, 3])
    def test_half_a_cell_is_whole_pixels(self, factor):
        with pytest.raises(InputError, match=f"an even factor, such as the stride of a map, got {factor}"):
            BilinearUpsampling(3, factor, learned=False)

    def test_it_learns_or_stays(self):
        assert BilinearUpsampling(3, 2, learned=True).weight.requires_grad
        assert not BilinearUpsampling(3, 2, learned=False).weight.requires_grad


class TestUnpooling:
    @pytest.mark.parametrize("size", [(8, 8), (7, 9), (45, 60), (1, 5), (2, 3)])
    def test_values_return_to_where_they_were(self, size):
        x = normal(2, 3, *size)
        pooled, indices = F.max_pool2d(x, 2, 2, ceil_mode=True, return_indices=True)
        restored = unpool(pooled, indices, size)
        assert restored.shape == x.shape
        kept = restored != 0
        assert torch.equal(restored[kept], x[kept])
        assert int(kept.sum()) == pooled.numel()
        # What was the largest of its window is so still.
        negative = torch.where(kept, restored, -torch.inf)
        assert torch.equal(F.max_pool2d(negative, 2, 2, ceil_mode=True), pooled)

    def test_it_is_the_adjoint_of_the_selection(self):
        x = normal(1, 2, 7, 5)
        pooled, indices = F.max_pool2d(x, 2, 2, ceil_mode=True, return_indices=True)
        y = normal(*pooled.shape)
        assert torch.allclose((pooled * y).sum(), (x * unpool(y, indices, (7, 5))).sum())


class TestDilation:
    @pytest.mark.parametrize("dilation", [1, 2, 3, 5])
    @pytest.mark.parametrize("kernel", [2, 3, 4])
    def test_it_is_a_kernel_with_zeros_between(self, dilation, kernel):
        x, weight = normal(2, 3, 19, 20), normal(4, 3, kernel, kernel)
        side = dilation * (kernel - 1) + 1
        with_zeros = torch.zeros(4, 3, side, side, dtype=torch.float64)
        with_zeros[..., ::dilation, ::dilation] = weight
        assert torch.allclose(F.conv2d(x, weight, dilation=dilation), F.conv2d(x, with_zeros))
