"""What is cropped for a region, beside RoIAlign on a pyramid."""

import pytest
import torch
import torchvision
from torch.nn import functional as F

from detkit.errors import InputError
from detkit.heads import Regions
from detkit.models import RegionAlign, RegionMaxPool, RegionStage, RegionWarp

SEEDS = [0, 1]


def _boxes(seed, count, size):
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, 2, generator=generator).sort(dim=1).values
    return corners.flatten(1) * torch.tensor([size[1], size[0]]).repeat(2) + torch.tensor([0.0, 0.0, 8.0, 8.0])


@pytest.mark.parametrize("seed", SEEDS)
def test_max_pool_is_torchvisions_roi_pool(seed):
    torch.manual_seed(seed)
    features, regions = torch.rand(2, 5, 12, 16), [_boxes(seed, 4, (192, 256)), _boxes(seed + 9, 3, (192, 256))]
    crops = RegionMaxPool(7)([features], [16], Regions.of_images(regions))
    torch.testing.assert_close(crops, torchvision.ops.roi_pool(features, regions, 7, 1 / 16))


@pytest.mark.parametrize("seed", SEEDS)
def test_stage_is_the_resnets_last_on_crops_of_twice_the_size(seed):
    torch.manual_seed(seed)
    pool = RegionStage(RegionAlign(14), "resnet18", frozen_batch_norm=False).eval()
    features, regions = torch.rand(1, 256, 12, 16), [_boxes(seed, 4, (192, 256))]
    crops = pool([features], [16], Regions.of_images(regions))
    aligned = torchvision.ops.roi_align(features, regions, 14, 1 / 16, 2, aligned=True)
    assert crops.shape == (4, pool.out_channels(256), pool.resolution, pool.resolution) == (4, 512, 7, 7)
    torch.testing.assert_close(crops, pool.stage(aligned), rtol=1e-4, atol=1e-5)
    assert pool([features], [16], Regions.of_images([torch.zeros(0, 4)])).shape == (0, 512, 7, 7)


def test_a_stage_loads_from_the_whole_nets_file(tmp_path):
    torch.manual_seed(0)
    net = torchvision.models.resnet18()
    torch.save(net.state_dict(), tmp_path / "resnet18.pth")
    pool = RegionStage(RegionAlign(14), "resnet18", weights=str(tmp_path / "resnet18.pth"), frozen_batch_norm=False)
    assert torch.equal(pool.stage[1].conv2.weight, net.layer4[1].conv2.weight)
    with pytest.raises(InputError, match="a ResNet, not of 'vgg11'"):
        RegionStage(RegionAlign(14), "vgg11")


class TestWarp:
    @pytest.mark.parametrize("box", [[20.0, 30, 52, 62], [28, 20, 92, 44], [32, 28, 56, 92]])
    def test_is_bilinear_resizing_of_the_region_with_context(self, box):
        torch.manual_seed(0)
        image = torch.rand(1, 3, 140, 120)
        crop = RegionWarp(48, 8)([image], [1], Regions.of_images([torch.tensor([box])]))[0]
        # The region fills the middle 32 of 48 pixels: a quarter of its size is seen on each side.
        x1, y1, x2, y2 = (int(value) for value in box)
        margin_x, margin_y = (x2 - x1) // 4, (y2 - y1) // 4
        seen = image[:, :, y1 - margin_y : y2 + margin_y, x1 - margin_x : x2 + margin_x]
        expected = F.interpolate(seen, size=(48, 48), mode="bilinear")[0]
        # At the border of the crop resizing has no pixels beyond it, where warping has.
        torch.testing.assert_close(crop[:, 4:-4, 4:-4], expected[:, 4:-4, 4:-4])

    def test_outside_the_image_there_is_the_mean(self):
        crop = RegionWarp(32, 0)(
            [torch.ones(1, 3, 20, 20)], [1], Regions.of_images([torch.tensor([[-20.0, 0, 20, 20]])])
        )[0]
        assert (crop[:, :, :15] == 0).all()
        assert (crop[:, 1:-1, 17:-1] == 1).all()

    def test_of_several_images_each_region_sees_its_own(self):
        images = torch.stack([torch.full((3, 20, 20), float(value)) for value in (1, 2)])
        regions = [torch.zeros(0, 4), torch.tensor([[2.0, 2, 18, 18]])]
        assert (RegionWarp(16, 0)([images], [1], Regions.of_images(regions)) == 2).all()

    def test_context_that_leaves_nothing_is_refused(self):
        with pytest.raises(InputError, match="resolution 32 must be more than twice"):
            RegionWarp(32, 16)


@pytest.mark.parametrize("pool", [RegionMaxPool(), RegionWarp(32, 4)])
def test_one_map_is_needed(pool):
    maps = [torch.rand(1, 3, 8, 8), torch.rand(1, 3, 4, 4)]
    with pytest.raises(InputError, match=r"strides \[8, 16\]"):
        pool(maps, [8, 16], Regions.of_images([torch.tensor([[0.0, 0, 9, 9]])]))
