"""Connected components against SciPy; their run lengths and boxes against those of masks of pixels."""

import random

import numpy as np
import pytest
import torch
from scipy import ndimage
from torchvision.ops import masks_to_boxes

from detkit.ops import masks_to_rle
from detkit.ops.maps.connected_components import connected_components
from detkit.ops.masks.numbered import numbered_boxes, numbered_to_rle

TOUCHING = np.ones((3, 3), dtype=bool)
SEEDS = [0, 1, pytest.param(random.SystemRandom().randrange(2**31), id="fresh")]


def _labels(seed: int) -> tuple[np.random.Generator, list[np.ndarray]]:
    """Maps of four classes in blobs and in noise, of all shapes from a pixel on."""
    generator = np.random.default_rng(seed)
    sizes = [(1, 1), (1, 9), (8, 1), *generator.integers(2, 40, (12, 2)).tolist()]
    maps = [generator.integers(0, 4, size) for size in sizes]
    return generator, maps + [np.kron(one, np.ones((2, 3), dtype=np.int64)) for one in maps]


@pytest.mark.parametrize("seed", SEEDS)
def test_they_are_those_of_scipy_in_its_order(seed):
    _, maps = _labels(seed)
    for labels in maps:
        expected, classes = np.zeros(labels.shape, dtype=np.int64), []
        for label in (2, 0):
            found, count = ndimage.label(labels == label, TOUCHING)
            expected[found > 0] = found[found > 0] + len(classes)
            classes += [label] * count
        numbers, of = connected_components(labels, [2, 0])
        assert np.array_equal(numbers, expected)
        assert of.tolist() == classes


def test_no_class_has_no_components():
    numbers, classes = connected_components(np.zeros((3, 4), np.int64), [])
    assert not numbers.any()
    assert len(classes) == 0
    numbers, classes = connected_components(np.zeros((3, 4), np.int64), [1])
    assert not numbers.any()
    assert len(classes) == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_run_lengths_are_those_of_masks(seed):
    generator, maps = _labels(seed)
    for numbers in maps:  # in columns, not in rows
        count = int(numbers.max()) + int(generator.integers(3))  # some without pixels
        masks = torch.from_numpy(numbers == np.arange(1, count + 1)[:, None, None])
        expected, found = masks_to_rle(masks), numbered_to_rle(numbers, count)
        assert torch.equal(found.counts, expected.counts)
        assert torch.equal(found.offsets, expected.offsets)
        assert found.shape == expected.shape


@pytest.mark.parametrize("seed", SEEDS)
def test_boxes_are_those_of_masks(seed):
    _, maps = _labels(seed)
    for labels in maps:
        numbers, classes = connected_components(labels, range(1, 4))
        masks = torch.from_numpy(numbers == np.arange(1, len(classes) + 1)[:, None, None])
        found = numbered_boxes(numbers, len(classes))
        expected = masks_to_boxes(masks) + torch.tensor([0, 0, 1, 1]) if len(masks) else torch.zeros(0, 4)
        assert torch.equal(found, expected)
