"""The ops of COCO's evaluation: the kernels against their references."""

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_masks

from detkit.ops.coco import (
    Compared,
    StringMasks,
    accumulate,
    fill_masks,
    match_boxes,
    match_keypoints,
    match_masks,
    measure_masks,
)
from detkit.ops.coco.accumulating import accumulate_reference
from detkit.ops.coco.coco_matching import match_boxes_reference, match_keypoints_reference, match_masks_reference
from detkit.ops.coco.mask_strings import fill_masks_reference, measure_masks_reference

SEEDS = [0, 1, 2, 3]
CATEGORIES, IMAGES, JOINTS = 3, 4, 5
SIZE = (20, 30)


def compared(random, detections, objects, max_detections=7):
    """Scenes of few images and categories, with ties in score, crowds and ignored objects."""
    crowd = torch.from_numpy(random.random(objects) < 0.2)
    return Compared(
        torch.from_numpy(random.integers(0, 12, detections) / 12),
        torch.from_numpy(random.integers(0, IMAGES, detections)),
        torch.from_numpy(random.integers(0, CATEGORIES, detections)),
        torch.from_numpy(random.uniform(1, 150, detections)),
        torch.from_numpy(random.integers(0, IMAGES, objects)),
        torch.from_numpy(random.integers(0, CATEGORIES, objects)),
        torch.from_numpy(random.uniform(1, 150, objects)),
        crowd,
        crowd | torch.from_numpy(random.random(objects) < 0.2),
        torch.linspace(0.1, 0.9, 5, dtype=torch.float64),
        torch.tensor([[0, 1e5], [0, 40], [40, 1e5]], dtype=torch.float64),
        max_detections,
    )


def boxes(random, count):
    return torch.from_numpy(np.concatenate([random.uniform(0, 12, (count, 2)), random.uniform(4, 12, (count, 2))], 1))


def string_masks(random, count):
    pixels = [np.zeros(SIZE, dtype=np.uint8, order="F") for _ in range(count)]
    for mask in pixels:
        top, left = random.integers(0, 10, 2)
        mask[top : top + random.integers(0, 10), left : left + random.integers(1, 20)] = 1
    strings = [coco_masks.encode(mask)["counts"] for mask in pixels]
    offsets = torch.tensor([0, *map(len, strings)]).cumsum(0)
    characters = torch.from_numpy(np.frombuffer(b"".join(strings), dtype=np.uint8).copy())
    sizes = torch.tensor([SIZE] * count, dtype=torch.int64).reshape(-1, 2)
    areas, bounds, _ = measure_masks(characters, offsets, sizes)
    return StringMasks(characters, offsets, sizes, areas, bounds)


def assert_equal(actual, expected):
    for one, other in zip(actual, expected, strict=True):
        assert one.dtype == other.dtype
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("detections", "objects"), [(60, 30), (5, 0), (0, 5), (0, 0)])
class TestMatching:
    def test_of_boxes_equals_the_reference(self, native, seed, detections, objects):
        random = np.random.default_rng(seed)
        arguments = compared(random, detections, objects), boxes(random, detections), boxes(random, objects)
        assert_equal(match_boxes(*arguments), match_boxes_reference(*arguments))

    def test_of_masks_equals_the_reference(self, native, seed, detections, objects):
        random = np.random.default_rng(seed)
        masks = string_masks(random, detections), string_masks(random, objects)
        arguments = compared(random, detections, objects), *masks
        assert_equal(match_masks(*arguments), match_masks_reference(*arguments))

    def test_of_keypoints_equals_the_reference(self, native, seed, detections, objects):
        random = np.random.default_rng(seed)
        truth = random.uniform(0, 20, (objects, JOINTS, 3))
        truth[..., 2] = random.integers(0, 3, (objects, JOINTS))
        truth[::4, :, 2] = 0
        arguments = (
            compared(random, detections, objects),
            torch.from_numpy(random.uniform(0, 20, (detections, JOINTS, 3))),
            torch.from_numpy(truth),
            boxes(random, objects),
            torch.from_numpy(random.uniform(0.3, 1, JOINTS)),
        )
        assert_equal(match_keypoints(*arguments), match_keypoints_reference(*arguments))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("is_weighted", [False, True])
def test_curves_equal_the_reference(native, seed, is_weighted):
    random = np.random.default_rng(seed)
    scene = compared(random, 80, 40)
    matches = match_boxes(scene, boxes(random, 80), boxes(random, 40))
    arguments = (
        scene.scores,
        scene.images,
        scene.categories,
        *matches,
        torch.from_numpy(random.integers(0, 6, (3, CATEGORIES)).astype(float)),
        torch.linspace(0, 1, 11, dtype=torch.float64),
        [1, 4, 7],
        5,
        torch.from_numpy(random.integers(0, 3, IMAGES).astype(float)) if is_weighted else None,
    )
    assert_equal(accumulate(*arguments), accumulate_reference(*arguments))


@pytest.mark.parametrize("seed", SEEDS)
def test_measures_equal_the_reference(native, seed):
    masks = string_masks(np.random.default_rng(seed), 20)[:3]
    assert_equal(measure_masks(*masks), measure_masks_reference(*masks))


@pytest.mark.parametrize("measure", [measure_masks, measure_masks_reference])
def test_a_string_that_is_no_mask_is_refused(native, measure):
    characters = torch.from_numpy(np.frombuffer(b"5", dtype=np.uint8).copy())
    with pytest.raises(RuntimeError, match="mask 0: "):
        measure(characters, torch.tensor([0, 1]), torch.tensor([SIZE]))


@pytest.mark.parametrize("seed", SEEDS)
def test_filled_masks_equal_the_reference(native, seed):
    random = np.random.default_rng(seed)
    polygons, objects, strings = [], [0], []
    for index in range(8):
        own = [random.uniform(0, 25, (random.integers(3, 6), 2)) for _ in range(random.integers(1, 3))]
        polygons += own if index % 2 else []
        objects.append(len(polygons))
        mask = np.asfortranarray((random.random(SIZE) < 0.5).astype(np.uint8))
        strings.append(b"" if index % 2 else coco_masks.encode(mask)["counts"])
    arguments = (
        torch.from_numpy(np.concatenate(polygons).ravel()),
        torch.tensor([0, *map(len, polygons)]).cumsum(0),
        torch.tensor(objects),
        torch.from_numpy(np.frombuffer(b"".join(strings), dtype=np.uint8).copy()),
        torch.tensor([0, *map(len, strings)]).cumsum(0),
        torch.tensor([SIZE] * 8),
    )
    assert_equal(fill_masks(*arguments), fill_masks_reference(*arguments))
