"""Panoptic maps against the rule of the paper, pixel by pixel (Kirillov 2019, section 3)."""

import numpy as np
import pytest
import torch

from detkit.errors import InputError
from detkit.models import MergeRule
from detkit.ops import masks_to_rle
from detkit.structures import Detections, SemanticMap

SKY, SAND = 1, 3
IS_THING = [True, False, True, False, True]
THINGS = len(IS_THING)


def panoptic_by_hand(scores, labels, masks, classes, score_threshold, overlap_threshold, stuff_area_threshold):
    """The rule as the paper words it, with sets of pixels: the label and the instance of each pixel."""
    height, width = classes.shape
    found = {}
    for row, (score, label, mask) in enumerate(zip(scores, labels, masks, strict=True), start=1):
        pixels = set(zip(*np.nonzero(mask), strict=True))
        if score < score_threshold or not pixels or len(pixels & found.keys()) / len(pixels) > overlap_threshold:
            continue
        found |= dict.fromkeys(pixels - found.keys(), (label, row))
    objects = set(found)
    for label in range(THINGS):
        pixels = {(y, x) for y in range(height) for x in range(width) if classes[y, x] == label} - objects
        if len(pixels) >= stuff_area_threshold:
            found |= dict.fromkeys(pixels, (label, 0))
    return found


def random_case(seed):
    random = np.random.default_rng(seed)
    height, width, count = *random.integers(6, 20, 2), int(random.integers(0, 9))
    masks = np.zeros((count, height, width), bool)
    for mask in masks:
        top, left = random.integers(0, height), random.integers(0, width)
        mask[top : top + random.integers(0, height), left : left + random.integers(0, width)] = True
        mask &= random.random((height, width)) < 0.8
    scores = np.sort(random.random(count).astype(np.float32))[::-1].copy()
    labels = random.choice([0, 2, 4], count)
    classes = random.choice([SKY, SAND, THINGS, 255], (height, width), p=[0.5, 0.15, 0.25, 0.1]).astype(np.uint8)
    return scores, labels, masks, classes


def detections_of(scores, labels, masks, run_lengths):
    pixels = torch.from_numpy(masks)
    boxes = torch.zeros(len(scores), 4)
    return Detections(
        boxes, torch.from_numpy(scores), torch.from_numpy(labels), masks_to_rle(pixels) if run_lengths else pixels
    )


@pytest.mark.parametrize("run_lengths", [False, True])
def test_random_images_are_merged_as_the_paper_says(run_lengths):
    seeds = [*range(20), *np.random.SeedSequence().generate_state(10).tolist()]
    for start in (0, 10, 20):  # images of several sizes at once
        cases = [random_case(seed) for seed in seeds[start : start + 10]]
        rule = MergeRule(0.4, 0.5, 8)
        detections = [detections_of(*case[:3], run_lengths) for case in cases]
        answers = rule.merged(detections, [SemanticMap(torch.from_numpy(case[3])) for case in cases], IS_THING)
        for seed, case, answer in zip(seeds[start:], cases, answers, strict=False):
            expected = np.full(case[3].shape, -1)
            for pixel, (label, instance) in panoptic_by_hand(*case, 0.4, 0.5, 8).items():
                expected[pixel] = label * 65536 + instance
            np.testing.assert_array_equal(answer.panoptic_map.numpy(), expected, err_msg=f"seed {seed}")


def test_images_of_one_size_are_merged_as_one_by_one():
    classes = SemanticMap(torch.randint(0, 2, (12, 9), dtype=torch.uint8) * 2 + 1)
    masks = torch.rand(5, 12, 9) < 0.4
    first = Detections(torch.zeros(5, 4), torch.linspace(0.9, 0.5, 5), torch.tensor([0, 2, 4, 0, 2]), masks)
    detections, rule = [first, first[:0], first[:2]], MergeRule(0.5, 0.3, 4)
    together = rule.merged(detections, [classes] * 3, IS_THING)
    for one, answer in zip(detections, together, strict=True):
        (alone,) = rule.merged([one], [classes], IS_THING)
        assert torch.equal(answer.panoptic_map, alone.panoptic_map)
        assert torch.equal(answer.label_map, alone.label_map)


def test_classes_of_pixels_keep_small_stuff_and_know_no_things_without_an_object():
    classes = torch.full((8, 8), THINGS, dtype=torch.uint8)
    classes[0, :3], classes[4:] = SKY, SAND
    mask = torch.zeros(1, 8, 8, dtype=torch.bool)
    mask[0, 3:5, :2] = True
    detections = Detections(torch.zeros(1, 4), torch.ones(1), torch.tensor([2]), mask)
    (answer,) = MergeRule(stuff_area_threshold=4).merged([detections], [SemanticMap(classes)], IS_THING)
    assert int((answer.panoptic_map == SKY * 65536).sum()) == 0
    assert answer.semantic.pixels() == {SAND: 30, 2: 4, SKY: 3}


def test_the_least_stuff_can_be_a_share_of_the_image():
    classes = torch.full((10, 10), SKY, dtype=torch.uint8)
    classes[0, :5] = SAND
    nothing = Detections(
        torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64), torch.zeros(0, 10, 10) > 0
    )
    shown = {}
    for share in (0.04, 0.06):
        (answer,) = MergeRule(stuff_area_threshold=share).merged([nothing], [SemanticMap(classes)], IS_THING)
        shown[share] = [one.label for one in answer.segments()]
    assert shown == {0.04: [SKY, SAND], 0.06: [SKY]}


def test_a_rule_out_of_range_is_refused():
    with pytest.raises(InputError, match=r"overlap_threshold in \[0, 1\].*1.5"):
        MergeRule(overlap_threshold=1.5)
