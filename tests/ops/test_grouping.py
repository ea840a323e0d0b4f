"""Segmentation and grouping: the kernels against plain Python, and what both must keep to."""

import cv2
import numpy as np
import pytest
import torch

from detkit.ops import backend
from detkit.ops.images import grouping
from detkit.ops.images.grouping import COLOR, FILL, SIZE, TEXTURE

SEEDS = [0, 1, 2, 3, 4]


def _random_image(seed, height=19, width=25):
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return torch.from_numpy(smooth.astype(np.float32))


def _bins(seed, shape):
    random = np.random.default_rng(seed)
    color = torch.from_numpy(random.integers(0, grouping.COLOR_BINS, (*shape, 3), dtype=np.uint8))
    return color, torch.from_numpy(random.integers(0, grouping.TEXTURE_BINS, (*shape, 24), dtype=np.uint8))


class TestGraphSegmentation:
    @pytest.mark.parametrize("seed", SEEDS)
    @pytest.mark.parametrize(("scale", "min_size"), [(20, 1), (100, 5), (300, 20)])
    def test_equals_plain_python(self, seed, scale, min_size):
        image = _random_image(seed)
        expected = grouping.graph_segmentation_reference(image, scale, min_size)
        assert torch.equal(grouping.graph_segmentation(image, scale, min_size), expected)

    def test_flat_squares_come_out_as_they_are(self):
        image = torch.zeros(12, 20, 3)
        image[:, 10:] = 200
        image[4:8, 2:6] = 90
        labels = grouping.graph_segmentation(image, 10, 1)
        assert labels.max() == 2
        assert (labels[4:8, 2:6] == labels[4, 2]).all()
        assert (labels == labels[4, 2]).sum() == 16
        assert (labels[:, 10:] == labels[0, 10]).all()

    def test_small_regions_are_merged(self):
        labels = grouping.graph_segmentation(_random_image(3), 1, 30)
        assert labels.unique(return_counts=True)[1].min() >= 30

    @pytest.mark.parametrize("size", [(1, 1), (1, 7), (9, 1)])
    def test_slivers(self, size):
        labels = grouping.graph_segmentation(torch.zeros(*size, 3), 10, 1)
        assert labels.tolist() == torch.zeros(size, dtype=torch.int32).tolist()


class TestHierarchicalGrouping:
    @pytest.mark.parametrize("seed", SEEDS)
    def test_equals_plain_python(self, seed):
        labels = grouping.graph_segmentation(_random_image(seed), 60, 3)
        color, texture = _bins(seed, labels.shape)
        sums = [COLOR | TEXTURE | SIZE | FILL, TEXTURE | SIZE | FILL, COLOR, SIZE, FILL]
        grouped = grouping.hierarchical_grouping(labels, color, texture, sums)
        for boxes, one in zip(grouped, sums, strict=True):
            expected = grouping.hierarchical_grouping_reference(labels, color, texture, one)
            assert torch.equal(boxes, expected)

    def test_begins_with_the_regions_and_ends_with_the_whole_image(self):
        labels = grouping.graph_segmentation(_random_image(0), 60, 3)
        boxes = grouping.hierarchical_grouping(labels, *_bins(0, labels.shape), [SIZE])[0]
        count = int(labels.max()) + 1
        assert boxes.shape == (2 * count - 1, 4)
        for label in range(count):
            y, x = torch.where(labels == label)
            assert boxes[label].tolist() == [x.min(), y.min(), x.max() + 1, y.max() + 1]
        assert boxes[-1].tolist() == [0, 0, 25, 19]

    def test_by_size_the_two_smallest_neighbors_go_first(self):
        labels = torch.tensor([[0, 0, 0, 0, 1, 1, 1, 2, 2, 3]], dtype=torch.int32)
        boxes = grouping.hierarchical_grouping(labels, *_bins(0, labels.shape), [SIZE])[0]
        assert boxes[4:].tolist() == [[7, 0, 10, 1], [4, 0, 10, 1], [0, 0, 10, 1]]

    def test_by_color_the_same_color_goes_first(self):
        labels = torch.tensor([[0, 0, 1, 1, 2, 2]], dtype=torch.int32)
        color = torch.tensor([[[3], [3], [9], [9], [9], [9]]], dtype=torch.uint8)
        boxes = grouping.hierarchical_grouping(labels, color, torch.zeros_like(color), [COLOR])[0]
        assert boxes[3].tolist() == [2, 0, 6, 1]

    @pytest.mark.skipif(backend() == "reference", reason="the native library checks its inputs")
    def test_labels_with_gaps_and_bins_out_of_range_are_refused(self):
        labels = torch.tensor([[0, 2, 2]], dtype=torch.int32)
        color, texture = _bins(0, labels.shape)
        with pytest.raises(RuntimeError, match="gaps"):
            grouping.hierarchical_grouping(labels, color, texture, [SIZE])
        with pytest.raises(RuntimeError, match="labels must lie"):
            grouping.hierarchical_grouping(labels - 1, color, texture, [SIZE])
        with pytest.raises(RuntimeError, match="number of bins"):
            grouping.hierarchical_grouping(labels.clamp(max=1), color + 25, texture, [SIZE])
