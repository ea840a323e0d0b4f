"""Faults of masks are named; crossings agree with a test of all pairs of sides in exact arithmetic."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from written_cases import kinds, split

from detkit.data.faults.mask_faults import crosses_itself, mask_problems

BOX = [10, 10, 40, 30]
OUTLINE = [10, 10, 50, 10, 50, 40, 10, 40]
BOW_TIE = [10, 10, 50, 40, 50, 10, 10, 40]


def run_lengths(x1: int, y1: int, x2: int, y2: int) -> dict:
    """A filled rectangle as COCO's run lengths, column by column."""
    mask = np.zeros((100, 200), dtype=np.uint8)
    mask[y1:y2, x1:x2] = 1
    flat = mask.flatten(order="F")
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat, [1 - flat[-1]]])))
    return {"size": [100, 200], "counts": np.diff(np.concatenate([[0], edges])).tolist()}


@pytest.mark.parametrize("mask", [[OUTLINE], run_lengths(10, 10, 50, 40), [[10, 10, 50, 10, 30, 40]]])
def test_a_sound_mask_has_no_fault(mask):
    assert not mask_problems(split({"bbox": BOX, "segmentation": mask}))


def test_objects_without_any_mask_have_no_fault():
    assert not mask_problems(split({"bbox": BOX}))


@pytest.mark.parametrize(
    ("mask", "name"),
    [
        ([OUTLINE, [10, 10, 20, 20]], "polygons_without_area"),
        ([BOW_TIE], "crossing_polygons"),
        ([[100, 50, 140, 50, 140, 80, 100, 80]], "box_and_mask_differ"),
        (run_lengths(10, 10, 20, 20), "box_and_mask_differ"),
        ([[10, 10, "x", 3, 4, 5]], "wrong_masks"),
        ({"size": [3, 3], "counts": [9]}, "wrong_masks"),
        ([[1e300, 0, 0, 1e300, 10, 10, 5, 5]], "wrong_masks"),
    ],
)
def test_a_planted_fault_is_named(mask, name):
    sound = {"bbox": [60, 20, 40, 30], "segmentation": [[60, 20, 100, 20, 100, 50, 60, 50]]}
    assert kinds(mask_problems(split(sound, {"bbox": BOX, "segmentation": mask}))) == {name: 1}


def test_a_missing_mask_among_others_is_noted():
    (problem,) = mask_problems(split({"bbox": BOX, "segmentation": [OUTLINE]}, {"bbox": BOX, "image_id": 1}))
    assert (problem.name, problem.level, problem.count) == ("objects_without_mask", "note", 1)


class TestCrossesItself:
    def test_random_polygons_as_in_exact_arithmetic(self):
        random = np.random.default_rng(0)
        polygons = [random.integers(0, 12, 2 * random.integers(4, 9)).tolist() for _ in range(200)]
        expected = [exactly(polygon) for polygon in polygons]
        assert [crosses_itself(polygon) for polygon in polygons] == expected
        assert 20 < sum(expected) < 180

    def test_a_point_twice_is_no_crossing(self):
        assert not crosses_itself([*OUTLINE[:2], *OUTLINE])

    def test_a_spike_is_no_crossing(self):
        assert not crosses_itself([0, 0, 10, 0, 5, 0, 5, 10])


def exactly(polygon: list[int]) -> bool:
    """Whether two sides cross in a point inside of both."""
    points = [tuple(map(Fraction, polygon[k : k + 2])) for k in range(0, len(polygon), 2)]
    points = [one for k, one in enumerate(points) if one != points[k - 1]]
    sides = list(zip(points, points[1:] + points[:1], strict=True))

    def turn(a, b, c):
        return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])

    return any(
        turn(a, b, c) * turn(a, b, d) < 0 and turn(c, d, a) * turn(c, d, b) < 0
        for (a, b), (c, d) in combinations(sides, 2)
    )
