"""Mirrored borders: their sizes, their pixels, and where annotations go."""

import cv2
import numpy as np
import pytest
import torch

from detkit.errors import InputError
from detkit.preprocess import CenterCrop, MirroredBorders, OriginalSize, ShortestEdge, Square
from detkit.preprocess.mirrored_borders import mirrored
from detkit.structures import Target

SIZES = [(33, 41), (1, 1), (2, 300), (388, 389)]


@pytest.mark.parametrize("size", SIZES)
def test_images_are_extended_as_opencv_mirrors(size):
    image = torch.rand(3, *size)
    made = MirroredBorders()
    batch = made([image])
    sides = [next(side for side in range(4, 10_000, 16) if side >= given) for given in size]
    assert batch.padded_size == (sides[0] + 184, sides[1] + 184)
    margins = [(92, 92 + side - given) for side, given in zip(sides, size, strict=True)]
    pixels = OriginalSize()([image]).images[0].numpy()
    for axis, (before, after) in enumerate(margins, 1):
        pixels = _reflected(pixels, before, after, axis)
    assert np.array_equal(batch.images[0].numpy(), pixels)


def _reflected(pixels, before, after, axis):
    """OpenCV's BORDER_REFLECT_101, pixel by pixel."""
    side = pixels.shape[axis]
    sources = [cv2.borderInterpolate(place, side, cv2.BORDER_REFLECT_101) for place in range(-before, side + after)]
    return np.take(pixels, sources, axis)


@pytest.mark.parametrize("inner", [ShortestEdge(40, 80), Square(48), CenterCrop((32, 32), 40)])
def test_any_preprocessing_goes_before(inner):
    images = [torch.rand(3, 50, 70), torch.rand(3, 64, 48)]
    made = MirroredBorders(inner, margin=5, least=8, step=8)
    batch = made(images)
    for image, placement, extended in zip(images, batch.placements, batch.images, strict=True):
        before = inner([image])
        height, width = before.sizes[0]
        assert torch.equal(extended[:, 5 : 5 + height, 5 : 5 + width], before.images[0, :, :height, :width])
        assert all((side - 10) % 8 == 0 for side in placement.size)
        point = torch.tensor([[11.0, 7.0]])
        assert torch.allclose(placement.points(point), before.placements[0].points(point) + 5)


def test_labels_in_the_border_are_ignored():
    made = MirroredBorders(margin=3, least=4, step=4)
    batch = made([torch.rand(3, 6, 5)])
    (moved,) = made.targets([Target(label_map=torch.ones(6, 5, dtype=torch.uint8))], batch)
    expected = np.pad(np.ones((6, 5), np.uint8), [(3, 5), (3, 6)], constant_values=255)
    assert np.array_equal(moved.label_map.numpy(), expected)


def test_the_gradient_reaches_the_image():
    image = torch.rand(3, 6, 5, requires_grad=True)
    MirroredBorders(margin=3)([image]).images.sum().backward()
    # Each pixel once, and once more for each of its mirror images.
    assert (image.grad.abs() > 0).all()


def test_it_resizes_by_what_goes_before():
    made = MirroredBorders().resize_to(40)
    assert made([torch.rand(3, 80, 120)]).sizes == [(40 + 12 + 184, 60 + 8 + 184)]
    assert MirroredBorders(Square(48)).fixed_size == (52 + 184, 52 + 184)
    assert MirroredBorders().fixed_size is None


@pytest.mark.parametrize("length", [1, 2, 5])
def test_mirrored_positions_are_those_of_numpy(length):
    padded = np.pad(np.arange(length), (7, 9), mode="reflect")
    assert mirrored(torch.arange(-7, length + 9), length).tolist() == padded.tolist()


def test_numbers_that_cannot_be_are_refused():
    with pytest.raises(InputError, match=r"margin must be at least 0"):
        MirroredBorders(margin=-1)
