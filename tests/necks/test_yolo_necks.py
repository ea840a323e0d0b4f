"""The YOLOs' necks: darknet's reorg in a loop, pooling, pyramids, and DropBlock."""

import numpy as np
import pytest
import torch

from detkit.errors import InputError
from detkit.necks import PAN, SPP, DropBlock, Passthrough, YOLOv3Neck
from detkit.necks.passthrough import reorganize

CHANNELS, STRIDES = [8, 12, 20], [8, 16, 32]


def _features(channels=CHANNELS, seed=0):
    generator = torch.Generator().manual_seed(seed)
    levels = zip(channels, STRIDES, strict=True)
    return [torch.randn(2, count, 128 // stride, 96 // stride, generator=generator) for count, stride in levels]


def _reorg(x, stride=2):
    """darknet's reorg of ``(C, H, W)`` on flat memory, for one image."""
    c, h, w = x.shape
    memory, out, out_c = x.reshape(-1), np.empty(x.size, x.dtype), c // stride**2
    for k in range(c):
        for j in range(h):
            for i in range(w):
                c2, offset = k % out_c, k // out_c
                w2, h2 = i * stride + offset % stride, j * stride + offset // stride
                out[i + w * (j + h * k)] = memory[w2 + w * stride * (h2 + h * stride * c2)]
    return out.reshape(c * stride**2, h // stride, w // stride)


@pytest.mark.parametrize("shape", [(8, 4, 6), (4, 2, 2), (64, 6, 4)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_reorganized_is_darknets_order(shape, layout):
    x = torch.randn(2, *shape).to(memory_format=layout)
    for image, result in zip(x, reorganize(x), strict=True):
        np.testing.assert_array_equal(result.numpy(), _reorg(image.contiguous().numpy()))


def test_passthrough_gives_one_map():
    neck = Passthrough(CHANNELS, STRIDES, fine_channels=16)
    assert (neck.channels, neck.strides) == ([20], [32])
    assert [x.shape for x in neck(_features())] == [(2, 20, 4, 3)]


def test_passthrough_needs_the_finer_map():
    with pytest.raises(InputError, match=r"got strides \[8, 32\]"):
        Passthrough([8, 8], [8, 32])
    with pytest.raises(InputError, match=r"multiple of 4, got 6"):
        Passthrough([8, 8], [16, 32], fine_channels=6)


def test_spp_stacks_maxima_of_windows():
    x = torch.randn(1, 2, 15, 17)
    pooled = SPP()(x).unflatten(1, (4, 2))
    assert torch.equal(pooled[:, 3], x)
    for index, reach in enumerate((6, 4, 2)):
        window = x[:, :, max(0, 7 - reach) : 7 + reach + 1, max(0, 2 - reach) : 2 + reach + 1]
        assert torch.equal(pooled[:, index, :, 7, 2], window.amax(dim=(2, 3)))


@pytest.mark.parametrize("neck", [YOLOv3Neck, PAN])
@pytest.mark.parametrize("spp", [True, False])
def test_pyramids_keep_sizes_and_double_their_channels(neck, spp):
    built = neck(CHANNELS, STRIDES, spp=spp)
    assert (built.channels, built.strides) == (CHANNELS, STRIDES)
    for x, outgoing in zip(_features(), built(_features()), strict=True):
        assert outgoing.shape == x.shape


@pytest.mark.parametrize(("neck", "knows"), [(YOLOv3Neck, [[0, 1, 2], [1, 2], [2]]), (PAN, [[0, 1, 2]] * 3)])
def test_which_maps_each_map_knows_of(neck, knows):
    torch.manual_seed(0)
    built, features = neck(CHANNELS, STRIDES).eval(), [x.requires_grad_() for x in _features()]
    for outgoing, known in zip(built(features), knows, strict=True):
        gradients = torch.autograd.grad(outgoing.sum(), features, retain_graph=True, allow_unused=True)
        assert [level for level, gradient in enumerate(gradients) if gradient is not None] == known


@pytest.mark.parametrize("neck", [YOLOv3Neck, PAN])
def test_levels_that_do_not_fit_are_an_error(neck):
    with pytest.raises(InputError, match=r"got strides \[8, 32\]"):
        neck([8, 8], [8, 32])
    with pytest.raises(InputError, match=r"own channels \[4\]"):
        neck([8, 8], [8, 16], channels=[4])


def test_spp_needs_a_set_to_stand_in():
    with pytest.raises(InputError, match="third convolution"):
        YOLOv3Neck([8, 8], [16, 32], convolutions=[0, 1], spp=True)


class TestDropBlock:
    def test_drops_patches_of_all_channels_and_scales_the_rest(self):
        torch.manual_seed(0)
        x = DropBlock(0.2, 3)(torch.ones(64, 2, 20, 20))
        dropped = x == 0
        assert torch.equal(dropped[:, 0], dropped[:, 1])
        assert dropped.float().mean().item() == pytest.approx(0.18, abs=0.03)  # patches overlap here and there
        assert x.mean().item() == pytest.approx(1)
        eroded = -torch.nn.functional.max_pool2d(-dropped.float(), 3, stride=1, padding=1)
        opened = torch.nn.functional.max_pool2d(eroded, 3, stride=1, padding=1)
        inner = slice(1, -1)
        assert torch.equal(opened[..., inner, inner], dropped.float()[..., inner, inner])

    def test_does_nothing_in_evaluation(self):
        x = torch.randn(1, 2, 5, 5)
        assert torch.equal(DropBlock(0.5).eval()(x), x)

    def test_takes_maps_smaller_than_its_patch(self):
        assert DropBlock(0.5, 7)(torch.ones(4, 1, 2, 3)).isfinite().all()
