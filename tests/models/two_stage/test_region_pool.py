"""Crops from a pyramid against torchvision's."""

import pytest
import torch
from torchvision.ops import MultiScaleRoIAlign

from detkit.heads import Regions
from detkit.models import RegionAlign

STRIDES = [4, 8, 16, 32]


def _pyramid(seed, batch=2):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, 5, 512 // stride, 768 // stride, generator=generator) for stride in STRIDES]


def _regions(count, seed):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 400
    return torch.cat((corner, corner + 2 ** (2 + 7 * torch.rand(count, 2, generator=generator))), dim=1)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("resolution", "sampling_ratio"), [(7, 2), (3, 0)])
def test_equals_torchvision(resolution, sampling_ratio, seed):
    pyramid, regions = _pyramid(seed), [_regions(20, seed), _regions(9, seed + 5)]
    theirs = MultiScaleRoIAlign(["0", "1", "2", "3"], resolution, sampling_ratio)
    expected = theirs({str(level): map_ for level, map_ in enumerate(pyramid)}, regions, [(512, 768)] * 2)
    crops = RegionAlign(resolution, sampling_ratio, aligned=False)(pyramid, STRIDES, Regions.of_images(regions))
    torch.testing.assert_close(crops, expected, rtol=1e-4, atol=1e-4)


def test_a_crop_is_where_its_region_is():
    """A map that holds each cell's place gives back the places of a region's parts."""
    x = (torch.arange(96.0) + 0.5) * 8
    y = (torch.arange(64.0) + 0.5) * 8
    places = torch.stack((x.expand(64, 96), y[:, None].expand(64, 96)))[None]
    region = torch.tensor([[80.0, 120.0, 360.0, 260.0]])
    crop = RegionAlign(resolution=7)([places], [8], Regions.of_images([region]))[0]
    torch.testing.assert_close(crop[0, 3], 80 + (torch.arange(7) + 0.5) * 40)
    torch.testing.assert_close(crop[1, :, 2], 120 + (torch.arange(7) + 0.5) * 20)


def test_regions_keep_their_order_and_their_image():
    pyramid = [torch.tensor([1.0, 2.0, 3.0])[:, None, None, None].expand(3, 1, 64, 64).contiguous()]
    regions = [_regions(2, 0) / 4, torch.zeros(0, 4), _regions(3, 1) / 4]
    crops = RegionAlign()(pyramid, [4], Regions.of_images(regions))
    assert crops[:, 0, 3, 3].tolist() == [1, 1, 3, 3, 3]


@pytest.mark.parametrize("images", [1, 3])
def test_no_regions(images):
    pyramid = [map_.requires_grad_() for map_ in _pyramid(0, batch=images)]
    crops = RegionAlign()(pyramid, STRIDES, Regions.of_images([torch.zeros(0, 4)] * images))
    assert crops.shape == (0, 5, 7, 7)
    crops.sum().backward()
    assert all(map_.grad is not None for map_ in pyramid)
