"""Drawing: what must be seen is seen, and no size of image or object breaks it."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detkit.errors import InputError
from detkit.structures import Category, Classification, Detections, Target
from detkit.visualization import (
    class_color,
    draw_answer,
    draw_classes,
    draw_detections,
    save_comparison,
    to_image_array,
    write_image,
)

CATEGORIES = [Category(i + 1, name) for i, name in enumerate(["cat", "dog", "Ähre"])]


def black(height=200, width=300):
    return np.zeros((height, width, 3), np.uint8)


def detections(*boxes, scores=None, labels=None, **fields):
    return Detections(
        boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        scores=torch.full((len(boxes),), 0.9) if scores is None else torch.tensor(scores),
        labels=torch.zeros(len(boxes), dtype=torch.int64) if labels is None else torch.tensor(labels),
        **fields,
    )


def test_box_is_outlined_in_the_color_of_its_class():
    image = draw_detections(black(), detections([50, 60, 150, 120], labels=[1]), CATEGORIES)
    for row, column in ((90, 50), (90, 149), (119, 100)):
        assert tuple(image[row, column]) == class_color(1)
    assert image[90, 100].sum() == 0  # nothing within
    assert tuple(image[50, 52]) == class_color(1)  # the label, above


def test_image_is_not_changed():
    image = black()
    draw_detections(image, detections([50, 60, 150, 120]), CATEGORIES)
    assert image.sum() == 0


def test_score_threshold():
    objects = detections([50, 60, 90, 120], [150, 60, 200, 120], scores=[0.3, 0.5])
    image = draw_detections(black(), objects, CATEGORIES)
    assert image[:, :120].sum() == 0
    assert image[:, 140:].sum() > 0
    assert draw_detections(black(), objects, CATEGORIES, score_threshold=0.2)[:, :120].sum() > 0


def test_masks_are_translucent():
    mask = torch.zeros(1, 200, 300, dtype=torch.bool)
    mask[0, 60:120, 50:150] = True
    white = np.full((200, 300, 3), 255, np.uint8)
    image = draw_detections(white, detections([50, 60, 150, 120], masks=mask), CATEGORIES)
    inside = image[90, 100].astype(int)
    assert 0 < np.abs(inside - 255).max() < np.abs(np.array(class_color(0)) - 255).max()
    assert (image[150, 100] == 255).all()


def test_crowds_are_dashed_and_gray():
    target = Target(torch.tensor([[50.0, 60, 250, 180]]), torch.tensor([0]), iscrowd=torch.tensor([True]))
    line = draw_detections(black(), target, CATEGORIES)[100:179, 50]
    assert (line.max(axis=1) == line.min(axis=1)).all()  # gray
    assert 0 < (line.sum(axis=1) > 0).mean() < 1  # dashed


def test_absent_keypoints_of_ground_truth_are_not_drawn():
    points = torch.tensor([[[100.0, 90, 2], [100, 150, 0]]])
    target = Target(torch.tensor([[50.0, 60, 150, 180]]), torch.tensor([0]), keypoints=points)
    image = draw_detections(black(), target, CATEGORIES)
    assert tuple(image[90, 100]) == class_color(0)
    assert image[150, 100].sum() == 0


def test_tensors_are_images_too():
    image = torch.randint(0, 256, (3, 20, 30), dtype=torch.uint8)
    assert (to_image_array(image) == image.permute(1, 2, 0).numpy()).all()
    assert (to_image_array(image / 255) == image.permute(1, 2, 0).numpy()).all()


def test_colors_are_distinct():
    colors = np.array([class_color(label) for label in range(24)])
    distances = np.abs(colors[:, None] - colors[None]).sum(axis=2) + 999 * np.eye(24)
    assert distances.min() >= 40
    assert class_color(3) == class_color(3)


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 150),
    width=st.integers(1, 150),
    boxes=st.lists(st.tuples(*[st.floats(-1e6, 1e6, width=32)] * 4), max_size=4),
)
def test_any_size_and_any_box(height, width, boxes):
    masks = torch.ones(len(boxes), height, width, dtype=torch.bool)
    keypoints = torch.tensor([[[box[0], box[1], 1.0]] for box in boxes]).reshape(-1, 1, 3)
    objects = detections(*boxes, masks=masks, keypoints=keypoints)
    image = draw_detections(black(height, width), objects, CATEGORIES, score_threshold=0)
    assert image.shape == (height, width, 3)
    assert image.dtype == np.uint8


def test_one_pixel_and_a_large_image():
    assert draw_detections(black(1, 1), detections([0, 0, 1, 1]), CATEGORIES).shape == (1, 1, 3)
    image = draw_detections(black(3000, 4000), detections([500, 500, 3000, 2000]), CATEGORIES)
    assert (image[1200, 500:506].sum(axis=1) > 0).all()  # lines are as wide as the image asks for


def test_nothing_to_draw():
    assert draw_detections(black(), Detections.empty(), CATEGORIES).sum() == 0
    assert draw_detections(black(), Target.empty(), CATEGORIES).sum() == 0


def test_wrong_input():
    with pytest.raises(InputError, match=r"got float64 \(4, 4, 3\)"):
        draw_detections(np.zeros((4, 4, 3)), Detections.empty(), CATEGORIES)
    with pytest.raises(InputError, match=r"got uint8 \(4, 4\)"):
        to_image_array(np.zeros((4, 4), np.uint8))
    with pytest.raises(InputError, match="label 3 has no name among 3 categories"):
        draw_detections(black(), detections([0, 0, 9, 9], labels=[3]), CATEGORIES)


def test_write_image_is_rgb_and_leaves_nothing_behind(tmp_path):
    image = black(4, 4)
    image[..., 0] = 255
    write_image(tmp_path / "new" / "red.png", image)
    assert (cv2.imread(str(tmp_path / "new" / "red.png"))[..., 2] == 255).all()  # OpenCV reads BGR
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["red.png"]
    with pytest.raises(InputError, match=r"red\.txt: no image can be written as '\.txt'"):
        write_image(tmp_path / "red.txt", image)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_save_comparison(tmp_path, count):
    sizes = [(100, 150), (300, 80), (1, 1), (900, 1200), (64, 64)][:count]
    images = [torch.zeros(3, *size, dtype=torch.uint8) for size in sizes]
    targets = [
        Target(
            torch.tensor([[1.0, 1, 60, 50]]),
            torch.tensor([0]),
            masks=torch.ones(1, *size, dtype=torch.bool),
            keypoints=torch.ones(1, 2, 3),
        )
        for size in sizes
    ]
    objects = [detections([5, 5, 60, 50], labels=[1]) for _ in sizes]
    save_comparison(tmp_path / "comparison.png", images, targets, objects, CATEGORIES)
    image = cv2.imread(str(tmp_path / "comparison.png"))
    assert image.shape[1] == (996 if count <= 3 else 1980)
    if count == 1:
        bgr = class_color(1)[::-1]
        assert (image[:, 500:] == bgr).all(axis=2).any()  # detections at the right
        assert not (image[:, :490] == bgr).all(axis=2).any()


def test_of_many_objects_only_the_boxes_are_drawn():
    boxes = [[x, y, x + 20, y + 20] for x in range(10, 290, 30) for y in range(20, 180, 40)]
    few, many = (draw_detections(black(), detections(*some), CATEGORIES) for some in (boxes[:1], boxes))
    text = slice(5, 19), slice(10, 40)
    assert few[text].any()
    assert not many[text].any()
    assert many[20:40, 10].any(axis=1).all()


def test_classes_are_written_one_below_the_other():
    answer = Classification(torch.tensor([0.6, 0.3, 0.1]), torch.tensor([2, 0, 1]))
    image = draw_classes(black(), answer, CATEGORIES)
    rows = [np.argwhere((image == class_color(label)).all(axis=2))[:, 0] for label in (2, 0, 1)]
    assert rows[0].min() == 0
    assert rows[0].max() < rows[1].min() <= rows[1].max() < rows[2].min()
    assert image[:, 200:].sum() == 0
    assert np.array_equal(draw_answer(black(), answer, CATEGORIES), image)
    with pytest.raises(InputError, match="label 5 has no name"):
        draw_classes(black(), Classification(torch.ones(1), torch.tensor([5])), CATEGORIES)


def test_the_truth_of_an_image_is_its_class_or_its_objects():
    image = draw_answer(black(), Target.empty(image_label=1), CATEGORIES)
    assert tuple(image[0, 0]) == class_color(1)
    with_object = Target(torch.tensor([[50.0, 60, 150, 120]]), torch.tensor([1]), image_label=1)
    expected = draw_detections(black(), with_object, CATEGORIES)
    assert np.array_equal(draw_answer(black(), with_object, CATEGORIES), expected)
    assert draw_answer(black(), Target.empty(), CATEGORIES).sum() == 0
    assert draw_answer(black(), Target(), CATEGORIES).sum() == 0


@pytest.mark.parametrize("size", [(1, 1), (8, 300), (40, 40)])
def test_classes_on_images_of_any_size(size):
    answer = Classification(torch.tensor([0.6, 0.3]), torch.tensor([2, 0]))
    assert draw_classes(black(*size), answer, CATEGORIES).shape == (*size, 3)
    assert draw_classes(black(*size), answer[:0], CATEGORIES).sum() == 0


def test_of_many_classes_as_many_are_written_as_leave_the_image_to_be_seen():
    answer = Classification(torch.full((3,), 0.3), torch.tensor([0, 1, 2]))
    image = draw_classes(black(60, 80), answer, CATEGORIES)
    assert tuple(image[0, 0]) == class_color(0)
    assert not (image == class_color(2)).all(axis=2).any()
