"""The order of images and the positions of categories in the ground truth."""

import numpy as np
import pytest

from detkit.errors import InputError
from detkit.evaluation.ground_truth import images_to_evaluate, label_positions
from detkit.structures import UNUSED_LABEL, Category

CAT, DOG = Category(3, "cat"), Category(7, "dog")


class TestLabelPositions:
    def test_are_found_by_name_whatever_the_ids(self):
        positions = label_positions([Category(1, "dog"), Category(2, "cat")], [CAT, DOG], "truth.json")
        np.testing.assert_array_equal(positions, [1, 0])

    def test_tell_categories_of_one_name_apart(self):
        known = [Category(1, "cat"), Category(2, "cat")]
        np.testing.assert_array_equal(label_positions(known, known, "truth.json"), [0, 1])

    def test_of_unused_labels_are_minus_one(self):
        np.testing.assert_array_equal(label_positions([Category(0, UNUSED_LABEL), CAT], [CAT], "truth.json"), [-1, 0])

    def test_of_an_unknown_category_are_refused(self):
        with pytest.raises(InputError, match="category 'cow' is not in"):
            label_positions([Category(1, "cow")], [CAT, DOG], "truth.json")


class TestImagesToEvaluate:
    def test_are_numbers_by_value_then_strings(self):
        assert images_to_evaluate(["b", 10, 9, "a"], None, "truth.json") == [9, 10, "a", "b"]

    def test_are_those_requested(self):
        assert images_to_evaluate([3, 2, 1], [3, 1], "truth.json") == [1, 3]
        with pytest.raises(InputError, match="4 is not an image of"):
            images_to_evaluate([1], [4], "truth.json")
