"""Faults of boxes are named, with the object; sound boxes have none."""

from __future__ import annotations

import numpy as np
import pytest
from written_cases import kinds, split

from detkit.data.faults.box_faults import box_problems
from detkit.data.faults.suspicious_boxes import repeated_objects

SOUND = ({"bbox": [10, 10, 40, 30]}, {"bbox": [60, 20, 40, 30]}, {"bbox": [0, 0, 200, 100], "image_id": 1})


def test_sound_boxes_have_no_fault():
    assert not box_problems(split(*SOUND))


def test_a_split_without_objects_has_no_fault():
    assert not box_problems(split())


@pytest.mark.parametrize(
    ("box", "name"),
    [
        ([10, 10, 0, 30], "boxes_without_area"),
        ([10, 10, -5, 30], "boxes_without_area"),
        ([250, 10, 20, 20], "boxes_without_area"),
        ([180, 10, 40, 30], "boxes_outside"),
        ([-20, 10, 40, 30], "boxes_outside"),
        ([10, 10, 0.5, 30], "tiny_boxes"),
    ],
)
def test_a_planted_box_is_named(box, name):
    (problem,) = box_problems(split(*SOUND, {"bbox": box, "id": 77}))
    assert problem.name == name
    assert problem.count == 1
    assert problem.examples == [f"0.png, annotation 77: x y width height {', '.join(f'{one:g}' for one in box)}"]
    assert problem.objects == [[3]]


def test_boxes_without_area_are_an_error_since_a_training_refuses_them():
    (problem,) = box_problems(split(*SOUND, {"bbox": [10, 10, 0, 30]}))
    assert problem.level == "error"


def test_a_box_may_reach_a_pixel_out_of_its_image():
    assert not box_problems(split(*SOUND, {"bbox": [160.5, 10, 40, 30]}))


def test_boxes_in_another_format_are_named():
    fractions = [{"bbox": [0.1, 0.2, 0.3, 0.1 + k / 100], "image_id": k % 3} for k in range(12)]
    assert kinds(box_problems(split(*fractions))) == {"box_format": 12}


class TestRepeatedObjects:
    def test_the_same_box_and_class(self):
        assert kinds(box_problems(split(*SOUND, SOUND[0]))) == {"repeated_objects": 1}

    def test_in_images_of_unstated_size_too(self):
        written = split(*SOUND, SOUND[0])
        unstated = written.with_sizes(np.zeros((3, 2), np.int64))
        assert repeated_objects(unstated).tolist() == [3]

    def test_crowds_do_not_count(self):
        assert not len(repeated_objects(split(*SOUND, {**SOUND[0], "iscrowd": 1})))

    def test_in_another_image_they_are_others(self):
        assert not box_problems(split(*SOUND, {**SOUND[0], "image_id": 2}))


class TestObjectsInOnePlace:
    def test_of_two_classes(self):
        (problem,) = box_problems(split(*SOUND, {"bbox": [10, 10, 41, 30], "label": 1, "id": 88}))
        assert problem.name == "boxes_of_two_classes"
        assert "(cat) and annotation 88 (dog)" in problem.examples[0]

    def test_of_one_class(self):
        assert kinds(box_problems(split(*SOUND, {"bbox": [10, 10, 41, 30]}))) == {"objects_twice": 1}

    def test_neighbors_are_none(self):
        assert not box_problems(split(*SOUND, {"bbox": [16, 10, 40, 30]}))


def test_more_objects_than_coco_counts_are_noted():
    many = [{"bbox": [k % 20 * 9, k // 20 * 9, 8, 8]} for k in range(101)]
    (problem,) = box_problems(split(*many))
    assert (problem.name, problem.level, problem.examples) == (
        "many_objects",
        "note",
        ["0.png: 101 objects of class cat"],
    )


def test_of_two_classes_coco_counts_twice_as_many():
    assert not box_problems(split(*({"bbox": [k % 20 * 9, k // 20 * 9, 8, 8], "label": k % 2} for k in range(200))))
