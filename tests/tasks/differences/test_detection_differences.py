"""Detections of a file against those of its checkpoint: what is paired, and what a planted change is called."""

import dataclasses

import pytest
import torch

from detkit.structures import Category, Detections
from detkit.structures import Classification as Classes
from detkit.tasks import Classification, Detection

CATEGORIES = [Category(1, "cat"), Category(2, "dog"), Category(3, "cow")]
SIZE = (100, 200)


def scene(seed=0, count=30):
    """Detections that do not overlap, best first, of scores down to 0.05."""
    generator = torch.Generator().manual_seed(seed)
    count -= 3 * (seed % 4)
    cells = torch.randperm(60, generator=generator)[:count]
    corner = torch.stack([cells % 10 * 20.0, cells // 10 * 16.0], dim=1) + torch.rand(count, 2, generator=generator)
    boxes = torch.cat([corner, corner + 10 + 5 * torch.rand(count, 2, generator=generator)], dim=1)
    labels = torch.randint(3, (count,), generator=generator)
    return Detections(boxes, torch.linspace(0.95 - 0.01 * seed, 0.05, count), labels)


def compared(change, tolerance=1.0, images=4):
    """What `change` makes of the detections of some images."""
    collector = Detection().differences(CATEGORIES, tolerance)
    for seed in range(images):
        collector.add(seed, SIZE, scene(seed), change(scene(seed)))
    return collector.result()


def replaced(**fields):
    return lambda one: dataclasses.replace(one, **{name: make(one) for name, make in fields.items()})


def test_equal_answers_agree():
    result = compared(lambda one: one)
    assert result.agree
    assert result.counts["pairs"] == 30 + 27 + 24 + 21
    assert {one.output: one.size for one in result.largest} == {"boxes": 0, "scores": 0, "labels": 0, "count": 0}


def test_the_largest_difference_is_where_it_is():
    def change(one):
        boxes = one.boxes.clone()
        boxes[3, 2] += 1.5
        return dataclasses.replace(one, boxes=boxes)

    boxes = next(one for one in compared(change, images=1).largest if one.output == "boxes")
    assert boxes.size == pytest.approx(1.5)
    assert (boxes.unit, boxes.image, boxes.beyond) == ("pixels", 0, 1)
    assert f"{scene().scores[3]:.3f}, box (" in boxes.where


def test_the_largest_difference_of_counts_may_be_in_a_later_image():
    collector = Detection().differences(CATEGORIES)
    collector.add("equal", SIZE, scene(), scene())
    collector.add("shorter", SIZE, scene(), scene()[torch.arange(30) < 23])
    count = next(one for one in collector.result().largest if one.output == "count")
    assert (count.size, count.image, count.where) == (7, "shorter", "23 in place of 30")


@pytest.mark.parametrize("tolerance", [1.0, 10.0, 100.0])
def test_a_file_that_finds_nothing_does_not_agree_even_if_all_scores_are_near_the_lowest(tolerance):
    close = replaced(scores=lambda one: 0.06 + 0.001 * one.scores)(scene())
    collector = Detection().differences(CATEGORIES, tolerance)
    collector.add(0, SIZE, close, close[torch.zeros(30, dtype=torch.bool)])
    result = collector.result()
    assert not result.agree
    assert result.unpaired == 30
    assert result.causes == ("the file finds nothing in any image, the checkpoint has 30 detections",)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda one: one[one.scores >= 0.3], "the file gives no score below 0.3"),
        (lambda one: one[:0], "the file finds nothing in any image"),
        (lambda one: one[:10], "the file gives at most 10 in an image, the checkpoint 30"),
        (replaced(labels=lambda one: torch.tensor([1, 0, 2])[one.labels]), "classes are swapped: "),
        (replaced(boxes=lambda one: one.boxes + torch.tensor([4.0, 0, 4, 0])), "boxes are shifted by (+4.0, +0.0"),
        (replaced(boxes=lambda one: one.boxes * 1.2), "boxes are scaled: x is 1.200 x"),
        (replaced(boxes=lambda one: one.boxes[:, [1, 0, 3, 2]]), "boxes are in another format: y1 x1 y2 x2"),
        (
            replaced(boxes=lambda one: torch.cat([one.boxes[:, :2], one.boxes[:, 2:] - one.boxes[:, :2]], dim=1)),
            "boxes are in another format: corner and size",
        ),
    ],
    ids=["threshold", "nothing", "limit", "classes", "shift", "scale", "xy", "xywh"],
)
def test_a_planted_change_is_named(change, cause):
    result = compared(change)
    assert not result.agree
    assert any(cause in sentence for sentence in result.causes), result.causes


def test_other_suppression_is_named():
    def doubled(one):
        near = one.boxes + torch.tensor([0.0, 0.0, 4.0, 0.0])
        twice = Detections(
            torch.cat([one.boxes, near]), torch.cat([one.scores, one.scores * 0.98]), one.labels.repeat(2)
        )
        return twice[twice.scores.argsort(descending=True)]

    assert any("suppression differs: in the file" in one for one in compared(doubled).causes)


def test_rounding_decides_of_the_lowest_score():
    result = compared(lambda one: one[:-1])
    assert result.agree
    assert result.counts["of these at a threshold"] == 4


def test_scores_that_differ_by_chance_have_no_cause():
    result = compared(replaced(scores=lambda one: one.scores + 0.005 * torch.randn(len(one)).clamp(-1, 1)))
    assert (result.agree, result.causes) == (False, ())
    assert compared(replaced(scores=lambda one: one.scores + 0.005), tolerance=10.0).agree


def test_no_detections_agree():
    assert compared(lambda one: one, images=0).agree
    collector = Detection().differences(CATEGORIES)
    collector.add(0, SIZE, Detections.empty(), Detections.empty())
    assert collector.result().agree


def test_swapped_classes_of_images_are_named():
    collector = Classification().differences(CATEGORIES)
    for best in (0, 1, 0):
        scores = torch.tensor([0.7, 0.2, 0.1])
        order = torch.tensor([best, 1 - best, 2])
        collector.add(best, SIZE, Classes(scores, order), Classes(scores, torch.tensor([1, 0, 2])[order]))
    result = collector.result()
    assert not result.agree
    assert result.causes == ("classes are swapped: cat is dog in 2 of 2, dog is cat in 1 of 1, with the same scores",)
    assert result.largest[0].size == pytest.approx(0.5)
