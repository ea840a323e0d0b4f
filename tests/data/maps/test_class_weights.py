"""Weights of classes by median frequency."""

from fractions import Fraction
from statistics import median

import numpy as np
import pytest
import torch

from detkit.data import ImageDataset
from detkit.data.maps.class_weights import median_frequency_weights
from detkit.errors import InputError
from detkit.structures import Category, Target


class Maps(ImageDataset):
    """Label maps without images."""

    def __init__(self, maps, classes):
        self.maps, self.classes = maps, classes

    @property
    def categories(self):
        return [Category(number, f"class {number}") for number in range(self.classes)]

    @property
    def image_ids(self):
        return range(len(self.maps))

    @property
    def image_sizes(self):
        return np.zeros((len(self.maps), 2), np.int64)

    def read(self, index):
        label_map = self.maps[index]
        return np.zeros((4, 5, 3), np.uint8), Target(image_id=index, label_map=label_map)

    def reading(self, names):
        assert names == {"label_map"}
        return self


def test_is_the_median_of_the_shares_over_the_share_of_the_class():
    rows = [[0, 0, 0, 0, 0, 0, 1, 1, 255, 255], [0, 0, 0, 3], [255, 255], [1, 1, 1, 3, 3, 3]]
    maps = [torch.tensor([row], dtype=torch.uint8) for row in rows]
    # Of 0: 9 of the 12 pixels of images with it, of 1: 5 of 14, of 3: 4 of 10.
    shares = [Fraction(9, 12), Fraction(5, 14), None, Fraction(4, 10)]
    middle = median([share for share in shares if share is not None])
    expected = [0.0 if share is None else float(middle / share) for share in shares]
    assert median_frequency_weights(Maps([*maps, None], 4)) == pytest.approx(expected)


def test_of_maps_of_int16():
    weights = median_frequency_weights(Maps([torch.tensor([[-1, 299, 0, 0]], dtype=torch.int16)], 300))
    assert (weights[0], weights[299], sum(weights)) == (0.75, 1.5, 2.25)


def test_without_any_class_says_so():
    with pytest.raises(InputError, match="no image has a label map with a class"):
        median_frequency_weights(Maps([None, torch.full((2, 2), 255, dtype=torch.uint8)], 3))


def test_names_the_image_of_an_unknown_class():
    with pytest.raises(InputError, match=r"image 0 has class 7, but the categories are 0..2"):
        median_frequency_weights(Maps([torch.tensor([[7]], dtype=torch.uint8)], 3))
