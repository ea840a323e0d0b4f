"""The native kernels against pycocotools: the whole arrays, on many small problems full of odd cases."""

import numpy as np
import pytest
import torch
from pycocotools import mask as rle_masks

from detkit.evaluation.coco import native_backend, pycocotools_backend
from detkit.evaluation.coco.protocol import PERSON_SIGMAS, Protocol, protocol_of
from detkit.evaluation.ground_truth import GroundTruth
from detkit.evaluation.packed_objects import Masks, PackedDetections, PackedObjects
from detkit.ops import RunLengths, mask_iou
from detkit.ops import backend as ops_backend
from detkit.ops.masks import strings_to_runs_reference
from detkit.structures import Category

pytestmark = pytest.mark.skipif(ops_backend() == "reference", reason="the native kernels were not built")

IOU_TYPES = ("bbox", "segm", "keypoints")
HEIGHT, WIDTH = 40, 50
SIZES = [5.0, 32.0, 96.0, 200.0]  # whose squares lie on the bounds of COCO's sizes too


def random_boxes(random, count):
    """Boxes on whole numbers, so that many are equal, touch, or overlap by exactly a threshold; some without area."""
    corner = random.integers(0, 12, (count, 2)).astype(float)
    return np.concatenate([corner, random.choice([0, 4, 5, 8, 10, 16, 20], (count, 2))], axis=1).astype(float)


def random_masks(random, boxes):
    images = np.zeros((len(boxes), HEIGHT, WIDTH), dtype=np.uint8)
    for image, (x, y, width, height) in zip(images, boxes.astype(int), strict=True):
        image[y : y + height, x : x + width] = random.random((height, width))[: HEIGHT - y, : WIDTH - x] < 0.9
    return Masks.of([rle_masks.encode(np.asfortranarray(image)) for image in images])


def random_keypoints(random, boxes):
    points = boxes[:, None, :2] + random.random((len(boxes), 17, 2)) * boxes[:, None, 2:]
    return np.concatenate([points.round(1), random.integers(0, 3, (len(boxes), 17, 1))], axis=2)


def random_problem(seed, iou_type):
    """Up to 4 images and 3 classes. Now and then no objects, no detections, crowds alone, one score for all, a class on
    one side only, or more detections than count."""
    random = np.random.default_rng(seed)
    images, classes = int(random.integers(1, 5)), int(random.integers(1, 4))
    count, found_count = int(random.choice([0, 1, 5, 20])), int(random.choice([0, 1, 5, 40, 400]))
    boxes, found_boxes = random_boxes(random, count), random_boxes(random, found_count)
    if count and found_count:  # half of the detections lie on objects
        on_objects = random.random(found_count) < 0.5
        found_boxes[on_objects] = boxes[random.integers(0, count, on_objects.sum())]
    keypoints = random_keypoints(random, boxes)
    keypoints[random.random(count) < 0.3, :, 2] = 0
    measured = iou_type == "keypoints"
    objects = PackedObjects(
        images=random.integers(0, images, count),
        categories=random.integers(0, classes, count),
        boxes=boxes,
        areas=random.choice(SIZES, count) ** 2,
        iscrowd=random.random(count) < random.choice([0.0, 0.3, 1.0], p=[0.4, 0.5, 0.1]),
        masks=random_masks(random, boxes) if iou_type == "segm" else None,
        keypoints=keypoints if measured else None,
        num_keypoints=(keypoints[..., 2] > 0).sum(1) if measured else None,
    )
    detections = PackedDetections.measured(
        images=random.integers(0, random.integers(1, images + 1), found_count),
        categories=random.integers(0, random.integers(1, classes + 1), found_count),
        scores=random.integers(0, random.choice([1, 5, 1000]), found_count) / 1000,
        boxes=found_boxes * random.choice([1, 1, 1, 8]) if iou_type == "bbox" else None,
        masks=random_masks(random, found_boxes) if iou_type == "segm" else None,
        keypoints=random_keypoints(random, found_boxes) if measured else None,
    )
    sizes = dict.fromkeys(range(images), (HEIGHT, WIDTH))
    categories = [Category(key, str(key)) for key in range(classes)]
    return GroundTruth("random", categories, list(range(images)), sizes, objects), detections


def assert_equal_curves(truth, detections, iou_type, protocol=None):
    protocol = protocol or protocol_of(iou_type)
    matches = native_backend.match(truth, detections, iou_type, protocol, PERSON_SIGMAS)
    curves = native_backend.accumulate(truth, detections, matches, protocol)
    expected = pycocotools_backend.evaluate(truth, detections, iou_type, protocol, PERSON_SIGMAS)
    for name, values in vars(expected).items():
        np.testing.assert_allclose(getattr(curves, name), values, rtol=0, atol=1e-12, err_msg=name)
    return curves


@pytest.mark.parametrize("iou_type", IOU_TYPES)
@pytest.mark.parametrize("block", range(5))
def test_all_arrays_equal_pycocotools(iou_type, block):
    measured = 0
    for seed in range(20 * block, 20 * block + 20):
        curves = assert_equal_curves(*random_problem(seed, iou_type), iou_type)
        measured += (curves.precision > 0).any()
    assert measured > 0


@pytest.mark.parametrize("iou_type", IOU_TYPES)
def test_any_protocol_equals_pycocotools(iou_type):
    """Thresholds from 0.05 to 1, sizes whose bounds objects have and that overlap, and few or many detections."""
    for seed in range(25):
        random = np.random.default_rng(seed)
        bounds = np.sort(random.choice([0, *SIZES, 1e5], (random.integers(1, 5), 2))) ** 2
        protocol = Protocol(
            iou_thresholds=np.sort(random.choice([0.05, 0.25, 0.5, 0.6, 0.75, 0.95, 1.0], random.integers(1, 7))),
            recall_thresholds=np.linspace(0, 1, int(random.integers(1, 60))),
            areas={str(number): tuple(pair) for number, pair in enumerate(bounds.tolist())},
            max_detections=np.unique(random.choice([1, 2, 10, 150, 1000], random.integers(1, 4))).tolist(),
            numbers={},
        )
        assert_equal_curves(*random_problem(seed, iou_type), iou_type, protocol)


def test_weights_of_images_are_copies_of_images():
    """An image that counts three times is three images; one that counts nothing is not there."""
    protocol = protocol_of("bbox")
    for seed in range(20):
        truth, detections = random_problem(seed, "bbox")
        weights = np.random.default_rng(seed).integers(0, 4, len(truth.image_ids)).astype(float)
        matches = native_backend.match(truth, detections, "bbox", protocol, PERSON_SIGMAS)
        weighted = native_backend.accumulate(truth, detections, matches, protocol, weights)
        several, detections_often = repeated(truth, detections, weights.astype(int))
        matches = native_backend.match(several, detections_often, "bbox", protocol, PERSON_SIGMAS)
        expected = native_backend.accumulate(several, detections_often, matches, protocol)
        np.testing.assert_allclose(weighted.recall, expected.recall, rtol=0, atol=1e-12)
        # Of equal scores, the order among images decides, which is another: so only detections of different scores.
        if len(np.unique(detections.scores)) == len(detections):
            np.testing.assert_allclose(weighted.precision, expected.precision, rtol=0, atol=1e-12)


def repeated(truth, detections, times):
    """The problem with each image so many times."""
    new = iter(range(int(times.sum())))
    copies = [(image, next(new)) for image in range(len(times)) for _ in range(times[image])]

    def rows(images):
        chosen = [(row, copy) for image, copy in copies for row in np.flatnonzero(images == image)]
        return np.array(chosen, dtype=int).reshape(-1, 2).T

    index, images = rows(truth.objects.images)
    of = truth.objects
    objects = PackedObjects(images, of.categories[index], of.boxes[index], of.areas[index], of.iscrowd[index])
    index, images = rows(detections.images)
    detections = PackedDetections.measured(
        images, detections.categories[index], detections.scores[index], detections.boxes[index]
    )
    return GroundTruth("repeated", truth.categories, list(range(len(copies))), {}, objects), detections


def masks_of(*counts, size=(4, 5)):
    return Masks.of([{"size": size, "counts": one} for one in counts])


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (b"T1", "mask 1: its runs sum to 36 or more, but 4 x 5 pixels are 20"),
        (b"", "mask 1: its runs sum to 0, but 4 x 5 pixels are 20"),
        (b"d", "mask 1: it ends within a number"),
        (b"\x7f", "mask 1: its character 0 is none of"),
        (b"P" * 8 + b"0", "too many digits"),
        (b"5N", "its run 1 is negative"),
        (b"oooooo0oooooo0", "sum to .* or more"),
    ],
)
def test_a_broken_mask_is_refused(counts, message):
    good = rle_masks.encode(np.ones((4, 5), np.uint8, order="F"))["counts"]
    with pytest.raises(RuntimeError, match=message):
        masks_of(good, counts).measures  # noqa: B018
    with pytest.raises(RuntimeError, match="must not be negative"):
        masks_of(good, size=(-4, -5)).measures  # noqa: B018


def test_any_string_is_a_mask_or_refused_as_by_the_reference():
    """Strings that pycocotools writes, and such with characters changed, dropped or added."""
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(400):
        height, width = random.integers(1, 40, 2)
        image = random.random((height, width)) < random.choice([0.01, 0.5, 0.99])
        string = bytearray(rle_masks.encode(np.asfortranarray(image.astype(np.uint8)))["counts"])
        for _ in range(random.integers(0, 3)):
            at = random.integers(0, len(string))
            string[at : at + random.integers(0, 3)] = (
                random.integers(40, 120, random.integers(0, 3)).astype(np.uint8).tobytes()
            )
            string = string or bytearray(b"0")
        masks = masks_of(bytes(string), size=(height, width))
        arrays = torch.from_numpy(masks.strings), torch.from_numpy(masks.offsets), int(height), int(width)
        try:
            runs, _ = strings_to_runs_reference(*arrays)
        except RuntimeError:
            refused += 1
            with pytest.raises(RuntimeError, match="mask 0: "):
                masks.measures  # noqa: B018
            continue
        assert masks.measures.areas.tolist() == [int(runs[1::2].sum())]
        assert masks.measures.boxes.tolist() == [rle_masks.toBbox(masks.encoded(0)).tolist()]
        assert torch.equal(torch.ops.detkit.strings_to_runs(*arrays)[0], runs)
    assert 80 < refused < 320


def test_masks_with_empty_runs_are_compared_as_by_pycocotools():
    """No encoder writes runs of no length, but files may hold them; two at one position end pycocotools' walk."""
    random = np.random.default_rng(1)
    size = (6, 7)
    for _ in range(150):
        masks = [with_empty_runs(random, size) for _ in range(5)]
        crowd = random.random(3) < 0.3
        expected = rle_masks.iou(masks[:2], masks[2:], crowd.tolist())
        detected, objects = Masks.of(masks[:2]), Masks.of(masks[2:])
        truth = GroundTruth(
            "random", [Category(1, "1")], [0], {0: size},
            PackedObjects(np.zeros(3, int), np.zeros(3, int), objects.measures.boxes, np.full(3, 9.0), crowd, objects),
        )  # fmt: skip
        detections = PackedDetections.measured(np.zeros(2, int), np.zeros(2, int), random.random(2), None, detected)
        curves = assert_equal_curves(truth, detections, "segm")
        assert curves.precision.shape[0] == 10
        runs = [RunLengths.from_coco(some) for some in (masks[:2], masks[2:])]
        np.testing.assert_array_equal(mask_iou(*runs, torch.from_numpy(crowd)).numpy(), expected)


def with_empty_runs(random, size):
    image = np.asfortranarray(random.random(size) < 0.5, dtype=np.uint8)
    runs = RunLengths.from_coco([rle_masks.encode(image)]).counts.tolist()
    for _ in range(random.integers(0, 3)):
        at = random.integers(1, len(runs) + 1)
        runs[at:at] = [0, 0] if random.random() < 0.8 else [0]
    runs = runs if sum(runs) == size[0] * size[1] else [*runs, 0]
    return RunLengths.from_coco([{"size": list(size), "counts": runs}]).to_coco()[0]
