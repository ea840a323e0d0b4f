"""Weights of pixels as a field of targets: moved by nearest neighbor, 0 outside of the image."""

import numpy as np
import pytest
import torch

from detkit.errors import InputError
from detkit.geometry import Placement
from detkit.structures import Target
from detkit.structures.image_fields import PixelWeights

SIZE = (6, 9)
PLACEMENTS = [
    Placement.mirror(SIZE, horizontal=True, vertical=False),
    Placement.part(SIZE, (2, 1, 7, 5), (0, 0, 5, 4), (8, 8)),
    Placement.resize(SIZE, (12, 18)),
]


def test_another_dtype_or_shape_is_named():
    with pytest.raises(TypeError, match=r"pixel_weights must be torch\.float32"):
        Target(pixel_weights=torch.ones(SIZE, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"pixel_weights must have shape \(H, W\)"):
        Target(pixel_weights=torch.ones(3))


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_they_move_with_the_label_map(placement):
    label_map = torch.randint(0, 200, SIZE, dtype=torch.uint8)
    moved = Target(label_map=label_map, pixel_weights=label_map.float() + 1).moved(placement)
    inside = moved.label_map != 255
    assert torch.equal(moved.pixel_weights, torch.where(inside, moved.label_map.float() + 1, 0))


def test_an_object_of_another_image_has_none_under_it():
    values, cover = torch.rand(SIZE) + 1, torch.rand(SIZE) < 0.5
    assert torch.equal(PixelWeights().cover(values, cover, torch.zeros(0)), values * ~cover)


def test_a_batch_moves_at_once():
    batch = [Target(pixel_weights=torch.rand(SIZE)) for _ in range(3)]
    for placement in PLACEMENTS:
        for one, target in zip(Target.batch_to_network(batch, [placement] * 3, "cpu"), batch, strict=True):
            assert torch.equal(one.pixel_weights, target.moved(placement).pixel_weights)


def test_images_side_by_side_keep_their_own():
    left, right = torch.zeros(SIZE), torch.zeros(SIZE)
    left[:, :4], right[:, 4:] = torch.rand(6, 4) + 0.1, torch.rand(6, 5) + 0.1
    assert torch.equal(PixelWeights().join("pixel_weights", [left, right], [0, 0]), left + right)
    with pytest.raises(InputError, match=r"some images have pixel_weights and some have none"):
        PixelWeights().join("pixel_weights", [left, None], [0, 0])


def test_they_pass_through_a_transform_as_numbers():
    values = torch.rand(SIZE)
    warped = PixelWeights().to_warp(values)
    assert warped.pixels.dtype == np.float32
    assert torch.equal(PixelWeights().from_warp(values, warped, None), values)


def test_workers_send_them():
    values = torch.rand(SIZE)
    kind = Target.kinds()["pixel_weights"]
    assert torch.equal(kind.unpack(kind.pack(values)), values)
