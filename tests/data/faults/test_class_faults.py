"""Faults of classes are named: spellings, other classes, classes that are never learned, rare ones."""

from __future__ import annotations

import numpy as np
import pytest
from written_cases import kinds, split

from detkit.data.faults.class_faults import class_problems, repeat_threshold
from detkit.data.faults.suspicious_labels import wrong_labels
from detkit.data.packed.repeat_factors import repeat_factors

BOTH = ({"label": 0}, {"label": 1, "bbox": [60, 20, 40, 30]})


def test_sound_classes_have_no_fault():
    assert not class_problems([split(*BOTH), split(*BOTH, name="val")])


def test_a_split_without_objects_has_no_fault():
    assert not class_problems([split()])


@pytest.mark.parametrize("other", ["Cat", "cat ", "c_at"])
def test_spellings_of_one_name(other):
    names = ("cat", other)
    (problem,) = class_problems([split(*BOTH, names=names), split(*BOTH, names=names, name="val")])
    assert problem.name == "similar_class_names"
    assert problem.examples == [f"'cat' and {other!r}"]


def test_other_classes_in_another_split():
    found = class_problems([split(*BOTH), split(*BOTH, name="val", names=("cat", "owl"))])
    (problem,) = [one for one in found if one.name == "different_classes"]
    assert problem.level == "error"
    assert problem.examples == ["'dog' is in train alone", "'owl' is in val alone"]


def test_the_same_classes_in_another_order():
    (problem,) = class_problems([split(*BOTH), split(*BOTH, name="val", names=("dog", "cat"))])
    assert problem.sentence == "train and val list their classes in another order"


def test_a_class_that_is_evaluated_but_never_learned():
    found = class_problems([split(BOTH[0]), split(*BOTH, name="val")])
    (problem,) = [one for one in found if one.name == "classes_without_training"]
    assert problem.examples == ["dog: 1 in val"]


def test_a_class_that_is_nowhere():
    names = ("cat", "dog", "owl")
    found = kinds(class_problems([split(*BOTH, names=names), split(*BOTH, names=names, name="val")]))
    assert found == {"empty_classes": 1}


def test_labels_that_look_counted_from_one():
    objects = [{"label": 1 + k % 2, "image_id": k % 3, "bbox": [k, k, 20, 20]} for k in range(12)]
    assert kinds(class_problems([split(*objects, names=("a", "b", "c"))])) == {"labels": 12, "empty_classes": 1}


class TestRareClasses:
    def test_are_noted_with_the_setting_that_draws_them_more_often(self):
        (problem,) = class_problems([imbalanced()])
        assert problem.name == "rare_classes"
        assert "--data.repeat_threshold 0.2 " in problem.advice
        assert problem.examples == ["dog: 1"]

    def test_the_setting_draws_images_of_the_rarest_class_about_three_times(self):
        """As the sampler of a training does it."""
        written = imbalanced()

        class Images:
            packed_annotations = None
            categories = written.classes

            def __len__(self):
                return len(written)

            def target(self, index):
                rows = written.image_rows == index
                labels = written.labels[rows]
                own = type("Target", (), {"labels": labels, "image_label": None})()
                own.objects = lambda: own
                return own

        factors = repeat_factors(Images(), repeat_threshold(written))
        assert factors.max() == pytest.approx(3, abs=0.3)
        assert np.count_nonzero(factors > 1) == 1


def imbalanced():
    """50 images with a cat each, one of them with a dog too."""
    cats = [{"image_id": k, "label": 0} for k in range(50)]
    return split(*cats, {"image_id": 7, "label": 1, "bbox": [60, 20, 40, 30]}, images=50)


def test_where_a_split_could_not_be_read_no_class_is_called_empty():
    names = ("cat", "dog", "owl")
    assert kinds(class_problems([split(*BOTH, names=names)])) == {"empty_classes": 1}
    assert not class_problems([split(*BOTH, names=names)], is_whole=False)


def test_stuff_needs_no_objects():
    labels = np.array([1, 2] * 10)
    for first in ("background", "road"):
        assert wrong_labels([first, "cat", "dog"], labels) is not None
        assert wrong_labels([first, "cat", "dog"], labels, {first}) is None
    assert wrong_labels(["road", "cat", "dog"], labels.clip(2), {"road"}) is not None  # all things are dogs
