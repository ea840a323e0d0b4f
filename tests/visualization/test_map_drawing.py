"""Drawings of label maps: colors, ignored pixels, edges and the legend."""

import numpy as np
import pytest
import torch

from detkit.errors import InputError
from detkit.structures import Category, SemanticMap, Target
from detkit.visualization import Drawing, draw_answer
from detkit.visualization.map_drawing import color_map, draw_label_map, map_colors, voc_palette

CATEGORIES = [Category(0, "background"), Category(7, "road", color=(10, 200, 30)), Category(15, "person")]
IGNORED = 255


def label_map(rows):
    return torch.tensor(rows, dtype=torch.uint8)


def test_the_palette_is_that_of_voc():
    # The colors of the classes as PASCAL VOC's development kit lists them.
    known = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 3: (128, 128, 0), 4: (0, 0, 128), 15: (192, 128, 128)}
    known |= {20: (0, 64, 128), 255: (224, 224, 192)}
    assert {number: tuple(voc_palette()[number].tolist()) for number in known} == known
    assert len(np.unique(voc_palette(), axis=0)) == 256


def test_a_class_has_the_color_of_its_category_or_that_of_its_id():
    assert map_colors(CATEGORIES).tolist() == [[0, 0, 0], [10, 200, 30], [192, 128, 128]]


def test_pixels_without_a_class_are_black_in_colors_and_untouched_in_drawings():
    labels = label_map([[1, 1, IGNORED], [1, 1, IGNORED]])
    assert color_map(labels, CATEGORIES)[0].tolist() == [[10, 200, 30], [10, 200, 30], [0, 0, 0]]
    image = np.full((2, 3, 3), 90, np.uint8)
    drawn = draw_label_map(image, labels, CATEGORIES)
    assert drawn[:, 2].tolist() == [[90, 90, 90]] * 2
    assert drawn[0, 1].tolist() == [10, 200, 30]  # the edge is opaque
    assert drawn[0, 0].tolist() == [round(0.45 * 90 + 0.55 * value) for value in (10, 200, 30)]
    assert (image == 90).all()


def test_a_legend_names_the_classes():
    labels = torch.ones(240, 320, dtype=torch.uint8)
    labels[:, :80] = 2
    image = np.zeros((240, 320, 3), np.uint8)
    few = draw_label_map(image, labels, CATEGORIES)
    tints = np.where((labels == 2).numpy()[..., None], map_colors(CATEGORIES)[2], map_colors(CATEGORIES)[1])
    plain = (0.55 * tints).round().astype(np.uint8)
    plain[:, 79] = map_colors(CATEGORIES)[2]
    rows, columns = np.nonzero((few != plain).any(axis=2))
    assert len(rows) > 0
    assert rows.min() > 180  # in a corner
    assert columns.min() > 160


def test_answers_and_targets_are_drawn_alike():
    image, labels = np.full((40, 60, 3), 128, np.uint8), torch.randint(0, 3, (40, 60), dtype=torch.uint8)
    expected = draw_label_map(image, labels, CATEGORIES)
    assert np.array_equal(draw_answer(image, SemanticMap(labels), CATEGORIES), expected)
    assert np.array_equal(draw_answer(image, Target(label_map=labels), CATEGORIES), expected)


def test_maps_are_resized_by_the_nearest_label():
    labels = label_map([[0, 1], [2, IGNORED]])
    for one in (SemanticMap(labels), Target(label_map=labels)):
        resized = Drawing().resized(one, (2, 2), (6, 4))
        assert torch.equal(resized.label_map, labels.repeat_interleave(3, 0).repeat_interleave(2, 1))


def test_a_label_without_a_category_is_named():
    with pytest.raises(InputError, match="label 3 has no name among 3 categories"):
        draw_label_map(np.zeros((1, 1, 3), np.uint8), label_map([[3]]), CATEGORIES)


def test_a_map_of_another_size_is_refused():
    with pytest.raises(InputError, match=r"the label map is \(1, 1\) \(height, width\), its image \(2, 2\)"):
        draw_label_map(np.zeros((2, 2, 3), np.uint8), label_map([[0]]), CATEGORIES)
