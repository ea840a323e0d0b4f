"""What `ImageDataset` says of a data set class that lacks something or whose labels are wrong."""

import numpy as np
import pytest
import torch

from detkit.data import ImageDataset
from detkit.errors import InputError
from detkit.structures import Category, Target


class OneImage(ImageDataset):
    """One image with one object of the given label."""

    def __init__(self, label: int) -> None:
        self.label = label

    @property
    def categories(self):
        return [Category(5, "cat"), Category(7, "dog")]

    @property
    def image_ids(self):
        return ["a"]

    @property
    def image_sizes(self):
        return np.full((1, 2), 20)

    def read(self, index):
        target = Target(torch.tensor([[1.0, 2, 9, 8]]), torch.tensor([self.label]), image_id="a")
        return np.zeros((20, 20, 3), np.uint8), target


class Nothing(ImageDataset):
    """A class that has forgotten everything."""


@pytest.mark.parametrize(("label", "category"), [(0, 5), (1, 7)])
def test_ground_truth_has_the_ids_of_the_categories(label, category):
    assert OneImage(label).ground_truth()["annotations"][0]["category_id"] == category


@pytest.mark.parametrize("label", [-1, 2])
def test_a_label_that_is_no_position_is_refused(label):
    with pytest.raises(InputError, match=f"image 'a' has the label {label}, but there are 2 categories"):
        OneImage(label).ground_truth()


def test_a_data_set_that_lacks_something_is_not_made():
    with pytest.raises(TypeError, match=r"categories.*image_ids.*image_sizes.*read"):
        Nothing()
