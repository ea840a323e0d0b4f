"""Anchors against a hand-written example and torchvision's."""

import pytest
import torch
from torchvision.models.detection.anchor_utils import AnchorGenerator as TorchvisionAnchors
from torchvision.models.detection.image_list import ImageList

from detkit.anchors import AnchorGenerator


def test_a_hand_written_example():
    generator = AnchorGenerator(sizes=[[4, 8]], aspect_ratios=[1.0, 4.0])
    (anchors,) = generator([(2, 2)], (16, 32))
    # Ratio 1: 4 x 4 and 8 x 8; ratio 4: 2 wide and 8 high, 4 wide and 16 high. Steps of 16 to the right, 8 down.
    at_origin = [[-2, -2, 2, 2], [-4, -4, 4, 4], [-1, -4, 1, 4], [-2, -8, 2, 8]]
    expected = [
        [x1 + x, y1 + y, x2 + x, y2 + y] for y, x in [(0, 0), (0, 16), (8, 0), (8, 16)] for x1, y1, x2, y2 in at_origin
    ]
    assert anchors.tolist() == expected
    assert generator.per_location == [4]


@pytest.mark.parametrize(
    ("padded_size", "grids"),
    [
        ((800, 1344), [(200, 336), (100, 168), (50, 84), (25, 42), (13, 21)]),  # P6 rounded up on both sides
        ((96, 160), [(24, 40), (12, 20), (6, 10), (3, 5), (2, 3)]),
        ((32, 32), [(8, 8), (4, 4), (2, 2), (1, 1), (1, 1)]),
        ((256, 512), [(63, 127), (31, 63), (15, 31), (7, 15), (4, 8)]),  # a trunk without padding
    ],
)
@pytest.mark.parametrize("ratios", [(0.5, 1.0, 2.0), (0.3, 1.7)])
def test_equals_torchvision(padded_size, grids, ratios):
    sizes = [[32], [64], [128], [256], [512]]
    ours = AnchorGenerator(sizes, ratios)
    theirs = TorchvisionAnchors(tuple(tuple(size) for size in sizes), (ratios,) * len(sizes))
    features = [torch.zeros(1, 1, *grid) for grid in grids]
    images = ImageList(torch.zeros(1, 3, *padded_size), [padded_size])
    assert torch.equal(torch.cat(ours(grids, padded_size)), theirs(images, features)[0])


def test_several_sizes_at_a_location_equal_torchvision():
    sizes = [[32, 40.3, 50.8], [64, 80.6, 101.6]]
    grids, padded_size = [(4, 6), (2, 3)], (32, 48)
    ours = AnchorGenerator(sizes)
    theirs = TorchvisionAnchors(tuple(tuple(size) for size in sizes), ((0.5, 1.0, 2.0),) * 2)
    images = ImageList(torch.zeros(1, 3, *padded_size), [padded_size])
    expected = theirs(images, [torch.zeros(1, 1, *grid) for grid in grids])[0]
    assert torch.equal(torch.cat(ours(grids, padded_size)), expected)
    assert ours.per_location == theirs.num_anchors_per_location()


def test_sizes_and_shapes_are_what_they_are_called():
    (anchors,) = AnchorGenerator([[100]], [0.25, 1.0, 4.0])([(1, 1)], (8, 8))
    width, height = (anchors[:, 2:] - anchors[:, :2]).unbind(1)
    torch.testing.assert_close(height / width, torch.tensor([0.25, 1.0, 4.0]))
    torch.testing.assert_close(width * height, torch.full((3,), 100.0**2))


def test_an_image_of_one_pixel_has_the_anchors_of_one_cell():
    (anchors,) = AnchorGenerator([[8]])([(1, 1)], (1, 1))
    assert anchors.shape == (3, 4)
    assert torch.equal(anchors[:, :2], -anchors[:, 2:])


def test_move_with_their_module_and_stay_out_of_its_state():
    generator = AnchorGenerator([[8], [16]])
    assert not generator.state_dict()
    assert generator.to("meta")([(2, 2), (1, 1)], (16, 16))[1].device.type == "meta"
