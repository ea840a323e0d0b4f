"""Faults of keypoints are named."""

from __future__ import annotations

import pytest
from written_cases import kinds, split

from detkit.data.faults.keypoint_faults import keypoint_problems

BOX = [10, 10, 40, 30]
SOUND = [20, 20, 2, 30, 25, 1, 0, 0, 0]


def problems(*keypoints: list | None) -> dict[str, int]:
    objects = [{"bbox": BOX, "keypoints": one} for one in keypoints]
    return kinds(keypoint_problems(split(*objects, keypoints=["nose", "left", "right"])))


def test_sound_keypoints_have_no_fault():
    assert not problems(SOUND, None)


def test_objects_without_keypoints_have_no_fault():
    assert not problems(None)


def test_a_part_may_be_hidden_outside_of_the_box():
    assert not problems([20, 20, 2, 60, 25, 1, 0, 0, 0])


@pytest.mark.parametrize(
    ("planted", "name"),
    [
        ([20, 20, 2], "wrong_keypoints"),
        (True, "wrong_keypoints"),
        ([20, 20, 2, 30, None, 1, 0, 0, 0], "wrong_keypoints"),
        ([20, 20, 2, 30, 125, 1, 0, 0, 0], "keypoints_outside_image"),
        ([150, 90, 2, 160, 90, 1, 0, 0, 0], "keypoints_outside_box"),
    ],
)
def test_a_planted_fault_is_named(planted, name):
    assert problems(SOUND, SOUND, planted) == {name: 1}
