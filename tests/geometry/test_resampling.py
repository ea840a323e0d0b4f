"""Resampled maps of numbers, against torch's interpolation and OpenCV's warp."""

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from detkit.geometry import Placement, resample


@pytest.mark.parametrize("size", [(20, 30), (7, 9), (12, 17)])
def test_a_resize_is_that_of_torch(size):
    maps = torch.rand(2, 3, 12, 17)
    expected = F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
    assert torch.equal(resample(maps, Placement.resize((12, 17), size)), expected)


def test_a_mirror_reverses_the_axes():
    maps = torch.rand(1, 2, 5, 7)
    assert torch.equal(resample(maps, Placement.mirror((5, 7), True, False)), maps.flip(-1))
    assert torch.equal(resample(maps, Placement.mirror((5, 7), True, True)), maps.flip(-1, -2))


def test_outside_of_the_given_frame_the_nearest_value_is_continued():
    maps = torch.rand(1, 1, 4, 4)
    padded = resample(maps, Placement.part((4, 4), (0, 0, 4, 4), (2, 1, 6, 5), (7, 9)))
    assert torch.equal(padded, F.pad(maps, (2, 3, 1, 2), mode="replicate"))


@pytest.mark.parametrize("seed", range(4))
def test_any_affine_map_is_that_of_opencv_within_its_rounding(seed):
    random = np.random.default_rng(seed)
    angle, scale = random.uniform(0, 2 * np.pi), random.uniform(0.6, 1.7)
    a, b = scale * np.cos(angle), scale * np.sin(angle)
    c, f = 14 - 10 * (a - b), 14 - 10 * (b + a)
    placement = Placement(((a, -b, c), (b, a, f)), (28, 28), (20, 20))
    maps = random.random((20, 20)).astype(np.float32)
    moved = resample(torch.from_numpy(maps)[None, None], placement)[0, 0].numpy()
    # OpenCV's pixel centers are whole numbers.
    matrix = np.array([[a, -b, c - 0.5 + 0.5 * (a - b)], [b, a, f - 0.5 + 0.5 * (b + a)]])
    expected = cv2.warpAffine(maps, matrix, (28, 28), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    assert np.abs(moved - expected).max() < 0.06  # OpenCV interpolates at 1/32 of a pixel
    assert np.abs(moved - expected).mean() < 0.01


def test_gradients_reach_the_maps():
    maps = torch.rand(1, 1, 6, 6, dtype=torch.float64, requires_grad=True)
    slanted = Placement(((0.9, 0.2, 0.1), (-0.2, 0.9, 1.0)), (6, 6), (6, 6))
    assert torch.autograd.gradcheck(lambda values: resample(values, slanted), maps)
