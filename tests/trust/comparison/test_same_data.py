"""Equal data is joined, whatever its order; other data is refused with what differs."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
from made_detections import evaluator_of, made_detections, made_truth

from detkit.errors import InputError
from detkit.evaluation import VocEvaluator
from detkit.trust.comparison import compare
from detkit.trust.comparison.same_data import join_data

TRUTH = made_truth(np.random.default_rng(0), 12, classes=3)
FOUND = made_detections(np.random.default_rng(1), TRUTH)


def renumbered(images: bool = True, categories: bool = True) -> tuple[dict, list[dict]]:
    """The same data with other ids, in another order."""
    image = {k: 100 - k if images else k for k in range(12)}
    category = {k: 4 - k if categories else k for k in (1, 2, 3)}
    ids = lambda one: one | {"image_id": image[one["image_id"]], "category_id": category[one["category_id"]]}  # noqa: E731
    truth = {
        "images": [one | {"id": image[one["id"]]} for one in TRUTH["images"]],
        "categories": [one | {"id": category[one["id"]]} for one in TRUTH["categories"]],
        "annotations": [ids(one) for one in reversed(TRUTH["annotations"])],
    }
    return truth, [ids(one) for one in FOUND]


@pytest.mark.parametrize(
    ("changes", "notes"),
    [
        ({}, ["number the images differently, so they are joined by file name", "in different orders"]),
        ({"categories": False}, ["number the images differently"]),
        ({"images": False}, ["list the classes in different orders, so they are joined by name"]),
    ],
)
def test_other_ids_and_orders_are_joined_by_name(changes, notes):
    first, second = evaluator_of(TRUTH, FOUND), evaluator_of(*renumbered(**changes))
    comparison = compare(first, second, samples=20, per_class=True)
    assert comparison.is_equal
    assert comparison.head.low == comparison.head.high == 0
    assert len(comparison.notes) == len(notes)
    for note, expected in zip(comparison.notes, notes, strict=True):
        assert expected in note


def test_other_order_alone_needs_no_note():
    truth = {key: list(reversed(entries)) for key, entries in TRUTH.items()}
    comparison = compare(evaluator_of(TRUTH, FOUND), evaluator_of(truth, FOUND), samples=20)
    assert comparison.is_equal
    assert comparison.notes == ()


def changed(key: str, row: int, **values) -> dict:
    truth = copy.deepcopy(TRUTH)
    truth[key][row] |= values
    return truth


def without_image(image_id: int) -> dict:
    return {
        "images": [one for one in TRUTH["images"] if one["id"] != image_id],
        "categories": TRUTH["categories"],
        "annotations": [one for one in TRUTH["annotations"] if one["image_id"] != image_id],
    }


@pytest.mark.parametrize(
    ("truth", "sentence"),
    [
        (without_image(7), r"A is evaluated on 12 images of annotations, B on 11.*only in A: 7\): give both the same"),
        (changed("categories", 1, name="bird"), r"3 classes.*only in A: 'class 1'; only in B: 'bird'"),
        (changed("annotations", 8, bbox=[1, 2, 3, 4]), r"objects of 1 of 12 images differ, image 4 first"),
        (changed("annotations", 8, iscrowd=1), r"objects of 1 of 12 images differ, image 4 first"),
        (changed("annotations", 8, area=1.0), r"objects of 1 of 12 images differ, image 4 first"),
        (changed("images", 3, file_name="other.jpg"), r"only in A: '3.jpg'; only in B: 'other.jpg'"),
        ({**TRUTH, "annotations": TRUTH["annotations"][:-1]}, r"objects of 1 of 12 images differ, image 11 first"),
    ],
)
def test_other_data_is_refused(truth, sentence):
    with pytest.raises(InputError, match=sentence):
        compare(evaluator_of(TRUTH, FOUND), evaluator_of(truth, []), samples=20)


def test_another_category_of_an_object_is_refused():
    label = TRUTH["annotations"][8]["category_id"] % 3 + 1
    with pytest.raises(InputError, match="image 4 first"):
        compare(evaluator_of(TRUTH, FOUND), evaluator_of(changed("annotations", 8, category_id=label), []), samples=20)


def test_another_mask_is_refused():
    from detkit.evaluation import CocoEvaluator

    square = [[0, 0, 10, 0, 10, 10, 0, 10]]
    truth = {**TRUTH, "annotations": [one | {"segmentation": square} for one in TRUTH["annotations"]]}
    other = copy.deepcopy(truth)
    other["annotations"][8]["segmentation"] = [[20, 20, 30, 20, 30, 30, 20, 30]]  # of the same area
    with pytest.raises(InputError, match="image 4 first"):
        compare(CocoEvaluator(truth, "segm"), CocoEvaluator(other, "segm"), samples=20)


def test_another_threshold_is_refused():
    pair = [VocEvaluator(TRUTH, iou_threshold=threshold) for threshold in (0.5, 0.75)]
    with pytest.raises(InputError, match=r"A is evaluated with iou_threshold 0.5, B with iou_threshold 0.75"):
        compare(*pair, samples=20)


def test_classes_of_one_name_keep_their_order():
    data = evaluator_of(TRUTH, FOUND).image_weighting().data
    twins = replace(data, classes=["cat", "cat", "dog"])
    assert join_data(twins, twins).classes.tolist() == [0, 1, 2]
    with pytest.raises(InputError, match="not the same"):
        join_data(twins, replace(twins, classes=["dog", "cat", "cat"]))
