"""Letterboxing, against darknet's `letterbox_image` and `correct_yolo_boxes` written pixel by pixel."""

import numpy as np
import pytest
import torch

from detkit.preprocess import Letterbox, Stretch
from detkit.structures import Detections, Target

SIZES = [((37, 53), (64, 96)), ((90, 41), (64, 64)), ((64, 64), (64, 64)), ((1, 7), (32, 32)), ((200, 133), (32, 64))]


def _resize(image, height, width):
    """Horizontally, then vertically, each number in float32 as C computes it."""
    channels, rows, columns = image.shape
    one = np.float32(1)
    step = np.float32(columns - 1) / np.float32(width - 1)
    part = np.zeros((channels, rows, width), np.float32)
    for column in range(width):
        position = np.float32(column) * step
        left = int(position)
        share = position - np.float32(left)
        if column == width - 1 or columns == 1:
            part[:, :, column] = image[:, :, columns - 1]
        else:
            part[:, :, column] = (one - share) * image[:, :, left] + share * image[:, :, left + 1]
    step = np.float32(rows - 1) / np.float32(height - 1)
    resized = np.zeros((channels, height, width), np.float32)
    for row in range(height):
        position = np.float32(row) * step
        top = int(position)
        share = position - np.float32(top)
        resized[:, row] = (one - share) * part[:, top]
        if row != height - 1 and rows != 1:
            resized[:, row] += share * part[:, top + 1]
    return resized


def _fitted(size, new_size):
    (rows, columns), (height, width) = size, new_size
    if width / columns < height / rows:
        return rows * width // columns, width
    return height, columns * height // rows


@pytest.mark.parametrize(("size", "new_size"), SIZES)
@pytest.mark.parametrize("seed", [0, 1])
def test_pixels_equal_the_definition(size, new_size, seed):
    image = np.random.default_rng(seed).integers(0, 256, (3, *size), dtype=np.uint8)
    height, width = _fitted(size, new_size)
    expected = np.full((3, *new_size), 0.5, np.float32)
    top, left = (new_size[0] - height) // 2, (new_size[1] - width) // 2
    expected[:, top : top + height, left : left + width] = _resize(image / np.float32(255), height, width)
    batch = Letterbox(new_size)([torch.from_numpy(image)])
    np.testing.assert_array_equal(batch.images[0].numpy(), expected)
    np.testing.assert_array_equal(
        Stretch(new_size)([torch.from_numpy(image)]).images[0].numpy(), _resize(image / np.float32(255), *new_size)
    )


@pytest.mark.parametrize(("size", "new_size"), SIZES)
def test_boxes_equal_the_definition_and_come_back(size, new_size):
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(6, 2, generator=generator) * 20
    boxes = torch.cat((corner, corner + 1 + 10 * torch.rand(6, 2, generator=generator)), dim=1)
    preprocess = Letterbox(new_size)
    batch = preprocess([torch.rand(3, *size, generator=generator)])
    (detections,) = preprocess.restore(
        [Detections(boxes, torch.ones(6), torch.zeros(6, dtype=torch.int64))], batch, cut=False
    )
    (height, width), (rows, columns) = new_size, size
    new_height, new_width = _fitted(size, new_size)
    centers, sizes = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    x = (centers[:, 0] / width - (width - new_width) / 2 / width) / (new_width / width) * columns
    y = (centers[:, 1] / height - (height - new_height) / 2 / height) / (new_height / height) * rows
    expected_sizes = sizes / torch.tensor([new_width / columns, new_height / rows])
    expected = torch.cat((torch.stack((x, y), 1) - expected_sizes / 2, torch.stack((x, y), 1) + expected_sizes / 2), 1)
    torch.testing.assert_close(detections.boxes, expected, atol=1e-3, rtol=1e-5)
    (target,) = preprocess.targets([Target(detections.boxes, detections.labels)], batch)
    torch.testing.assert_close(target.boxes, boxes, atol=1e-3, rtol=1e-5)


def test_normalizes_border_and_image_alike():
    preprocess = Letterbox((8, 8), mean=(0.5, 0.4, 0.3), std=(0.5, 0.25, 0.1))
    images = preprocess([torch.full((3, 4, 8), 0.75)]).images
    torch.testing.assert_close(images[0, :, 4, 4], torch.tensor([0.5, 1.4, 4.5]))
    torch.testing.assert_close(images[0, :, 0, 0], torch.tensor([0.0, 0.4, 2.0]))
