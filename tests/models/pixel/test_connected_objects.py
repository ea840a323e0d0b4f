"""Objects made of the pixels of a model: against masks that are drawn, and sums in double precision."""

import random
from functools import partial

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.nn import functional as F

from detkit.backbones import UNetEncoder
from detkit.errors import InputError
from detkit.models import ConnectedObjects, SegmentationModel, UNet
from detkit.models.pixel.inference import SlidingWindow, Whole
from detkit.ops import rle_to_masks
from detkit.preprocess import ShortestEdge
from detkit.structures import Category, Detections, PanopticMap, SemanticMap

CELLS = [Category(0, "background", is_thing=False), Category(1, "cell"), Category(2, "border", is_thing=False)]
SIZE = (40, 60)


def _disc(y: float, x: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def _logits(labels: np.ndarray, seed: int = 0, classes: int = 3) -> torch.Tensor:
    """Of which `labels` are the best, by a random distance."""
    noise = torch.rand(classes, *labels.shape, generator=torch.Generator().manual_seed(seed))
    return noise + F.one_hot(torch.from_numpy(labels).long(), classes).movedim(-1, 0) * 2


def _answer(labels: np.ndarray, logits: torch.Tensor, categories=CELLS, **options) -> PanopticMap:
    (answer,) = ConnectedObjects(**options).answers(
        [SemanticMap(torch.from_numpy(labels.astype(np.uint8)))], [logits], categories
    )
    return answer


@pytest.mark.parametrize("seed", [0, pytest.param(random.SystemRandom().randrange(2**31), id="fresh")])
def test_each_component_is_an_object_with_the_mean_probability_of_its_class(seed):
    generator = np.random.default_rng(seed)
    labels = np.kron(generator.integers(0, 3, (10, 15)), np.ones((4, 4), np.int64))
    logits = _logits(labels, int(generator.integers(2**31)))
    answer = _answer(labels, logits)
    numbers, count = ndimage.label(labels == 1, np.ones((3, 3)))
    probabilities = np.exp(logits.double().numpy())
    probabilities = probabilities[1] / probabilities.sum(axis=0)
    expected = {
        (numbers == number).tobytes(): probabilities[numbers == number].mean() for number in range(1, count + 1)
    }
    masks = rle_to_masks(answer.detections.masks).numpy()
    assert len(masks) == count
    assert answer.scores.tolist() == sorted(answer.scores.tolist(), reverse=True)
    assert (answer.labels == 1).all()
    for row, (mask, box, score) in enumerate(zip(masks, answer.boxes.tolist(), answer.scores.tolist(), strict=True)):
        assert score == pytest.approx(expected.pop(mask.tobytes()), abs=1e-6)
        rows, columns = np.nonzero(mask)
        assert box == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert np.array_equal(answer.panoptic_map == 65536 + row + 1, mask)
    stuff = answer.panoptic_map[torch.from_numpy(labels != 1)]
    assert torch.equal(stuff, torch.from_numpy(labels[labels != 1]).int() * 65536)
    assert torch.equal(answer.label_map.long(), torch.from_numpy(labels))


def test_a_border_keeps_discs_apart_and_belongs_to_the_nearest():
    left, right = _disc(20, 20, 9), _disc(20, 39, 9)
    distances = [ndimage.distance_transform_edt(~disc) for disc in (left, right)]
    is_border = (distances[0] + distances[1] <= 4) & (left | right)
    assert ndimage.label(left | right)[1] == 1  # without a border they are one
    labels = np.where(is_border, 2, left | right)
    answer = _answer(labels, _logits(labels), border="border", reach=3)
    assert len(answer) == 2
    for mask in rle_to_masks(answer.detections.masks).numpy():
        overlaps = [(mask & disc).sum() / (mask | disc).sum() for disc in (left, right)]
        assert max(overlaps) > 0.97
    assert (answer.panoptic_map // 65536 != 2).all()
    apart = _answer(labels, _logits(labels), border="border", reach=0)
    assert len(apart) == 2
    assert apart.detections.masks.areas().sum() == (labels == 1).sum()
    assert (answer.label_map == 2).sum() == is_border.sum()


def test_a_border_far_from_objects_is_the_likeliest_stuff():
    categories = [*CELLS, Category(3, "dirt", is_thing=False)]
    labels = np.zeros(SIZE, np.int64)
    labels[5:9, 5:30] = 2
    labels[20:30, 20:30] = 1
    logits = _logits(labels, classes=4)
    answer = _answer(labels, logits, categories, border="border")
    expected = torch.where(logits[3] > logits[0], 3 * 65536, 0)[5:9, 5:30]
    assert torch.equal(answer.panoptic_map[5:9, 5:30].long(), expected)
    assert len(expected.unique()) == 2


def test_components_that_are_too_small_are_stuff():
    labels = (_disc(10, 10, 5) | _disc(30, 45, 1)).astype(np.int64)
    assert len(_answer(labels, _logits(labels))) == 2
    answer = _answer(labels, _logits(labels), min_area=6)
    assert len(answer) == 1
    small = answer.panoptic_map[torch.from_numpy(_disc(30, 45, 1))]
    assert ((small == 0) | (small == 2 * 65536)).all()


@pytest.mark.parametrize("label", [0, 255])
def test_nothing_is_found_where_nothing_is(label):
    labels = np.full(SIZE, label)
    answer = _answer(labels, _logits(np.zeros(SIZE, np.int64)), border="border")
    assert len(answer) == 0
    assert answer.detections.masks.shape == (0, *SIZE)
    assert (answer.panoptic_map == (0 if label == 0 else -1)).all()


@pytest.mark.parametrize(
    ("options", "categories", "match"),
    [
        ({}, None, r"model\.categories must say which classes are things"),
        ({"border": "edge"}, CELLS, r"no class 'edge' among background, cell, border"),
        ({}, [Category(0, "a"), Category(1, "b")], r"all of the classes a, b are things"),
    ],
)
def test_categories_that_do_not_fit(options, categories, match):
    labels = np.zeros(SIZE, np.int64)
    with pytest.raises(InputError, match=match):
        _answer(labels, _logits(labels), categories, **options)


def test_numbers_below_zero_are_refused():
    with pytest.raises(InputError, match=r"reach and min_area of at least 0, got -1 and 1"):
        ConnectedObjects(reach=-1)


def _model(inference=None, preprocess=None) -> SegmentationModel:
    torch.manual_seed(0)
    backbone = UNetEncoder(1 / 32, padded=True)
    model = UNet(backbone, 3, inference=inference, preprocess=preprocess, objects=ConnectedObjects(border="border"))
    model.categories = CELLS
    return model.eval()


@pytest.mark.parametrize(("preprocess", "window"), [(None, (48, 80)), (partial(ShortestEdge, 64, 96), (64, 96))])
def test_a_model_answers_alike_by_every_inference(preprocess, window):
    images = [torch.rand(3, 48, 80, generator=torch.Generator().manual_seed(seed)) for seed in range(2)]
    own = None if preprocess is None else preprocess()
    answers = _model(preprocess=own)(images)
    assert all(isinstance(one, PanopticMap) for one in answers)
    assert all(isinstance(one.detections, Detections) for one in answers)
    for inference in (Whole(), SlidingWindow(window)):
        for one, other in zip(answers, _model(inference, own)(images), strict=True):
            assert torch.equal(one.panoptic_map, other.panoptic_map)
            torch.testing.assert_close(one.scores, other.scores)


def test_without_objects_the_answer_is_a_label_map():
    model = UNet(UNetEncoder(1 / 32, padded=True), 3).eval()
    (answer,) = model([torch.rand(3, 32, 32)])
    assert isinstance(answer, SemanticMap)
