"""Drawings of many objects side by side stay readable."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from detkit.structures import Category, Detections
from detkit.visualization import class_color, draw_detections
from detkit.visualization.colors import instance_colors
from detkit.visualization.labels import placed_labels

CATEGORIES = [Category(1, "platelet"), Category(2, "red cell")]


def cluster(count, spread):
    """Boxes of 30 to 60 pixels around the middle of an image of 640 x 480."""
    generator = np.random.default_rng(0)
    corners = generator.integers(-spread, spread, (count, 2)) + np.array([320, 240])
    return np.concatenate((corners, corners + generator.integers(30, 60, (count, 2))), axis=1)


def _overlap(one, other):
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    return (high - low).clip(0).prod()


@pytest.mark.parametrize("spread", [20, 60, 200])
def test_no_label_covers_another(spread):
    corners = cluster(20, spread)
    texts = [f"platelet {index / 20:.2f}" for index in range(20)]
    labels = placed_labels(np.zeros((480, 640, 3), np.uint8), corners, [texts, [text[-4:] for text in texts]])
    places = np.array([label.place for label in labels])
    assert sum(_overlap(one, other) for index, one in enumerate(places) for other in places[:index]) == 0
    assert len(labels) >= 7
    assert labels[0].text == texts[-1]  # the most important one in full
    assert (places >= 0).all()
    assert (places <= [640, 480, 640, 480]).all()


def test_labels_that_have_no_place_are_replaced_by_a_legend():
    corners = cluster(40, 100)
    objects = Detections(torch.from_numpy(corners).float(), torch.full((40,), 0.9), torch.arange(40) % 4 // 3)
    black = np.zeros((480, 640, 3), np.uint8)
    many, few = (draw_detections(black, some, CATEGORIES) for some in (objects, objects[:1]))
    corner = many[430:, 500:]
    rows = [np.flatnonzero((corner == class_color(label)).all(axis=2).any(axis=1)) for label in (0, 1)]
    assert 10 < len(rows[0]) < 20  # a line each, the more frequent class first
    assert rows[0].max() < rows[1].min()
    assert not few[430:, 500:].any()


def test_lines_are_thin_where_objects_are_small():
    black = np.zeros((480, 640, 3), np.uint8)

    def width(side):
        box = torch.tensor([[100.0, 100, 100 + side, 100 + side]])
        drawn = draw_detections(black, Detections(box, torch.ones(1), torch.zeros(1, dtype=torch.int64)), CATEGORIES)
        return int(drawn[100 + side // 2, 90:110].any(axis=-1).sum())

    assert width(20) < width(200)


def test_masks_of_one_class_side_by_side_differ():
    corners = np.array([[x, y, x + 30, y + 30] for y in range(0, 90, 30) for x in range(0, 300, 30)])
    colors = np.array(instance_colors([0] * len(corners), corners), int)
    grid = colors.reshape(3, 10, 3)
    neighbors = [*zip(grid[:, 1:].reshape(-1, 3), grid[:, :-1].reshape(-1, 3), strict=True)]
    neighbors += [pair for row in pairwise(grid) for pair in zip(*row, strict=True)]
    assert min(np.abs(one - other).sum() for one, other in neighbors) >= 60
    assert tuple(colors[0]) == class_color(0)


def test_masks_far_apart_have_the_color_of_their_class():
    corners = np.array([[0, 0, 20, 20], [300, 0, 320, 20], [305, 5, 330, 30]])
    assert instance_colors([0, 0, 1], corners) == [class_color(0), class_color(0), class_color(1)]
