"""NMS in ONNX Runtime: the same boxes in the same order as detkit's kernels."""

import numpy as np
import pytest
import torch
from onnxruntime_op import in_onnxruntime

from detkit.ops import batched_nms, batched_nms_padded, nms, nms_padded

THRESHOLD = 0.3  # its float32 is greater, which decides at an IoU of exactly 0.3


def random_boxes(count, seed):
    """Boxes that overlap much, with scores of which many are equal, images from -1 to 3 and labels from -2 to 2."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, generator=generator) * 100
    boxes = torch.cat((corners, corners + torch.rand(count, 2, generator=generator) * 60), dim=1)
    scores = (torch.rand(count, generator=generator) * 20).round() / 20
    images, labels = (torch.randint(low, 4 + low + 1, (count,), generator=generator) for low in (-1, -2))
    return boxes, scores, images, labels


def suppressed(boxes, scores, images, labels):
    """Every operation, and so every translation."""
    return (
        nms(boxes, scores, THRESHOLD),
        batched_nms(boxes, scores, labels, THRESHOLD),
        *nms_padded(boxes, scores, THRESHOLD, 7, labels),
        *batched_nms_padded(boxes, scores, images, THRESHOLD, 3, 10, labels),
        *batched_nms_padded(boxes, scores, images, 0.5, 3, 400),
        *batched_nms_padded(boxes, scores, images, 0.5, boxes.shape[0], boxes.shape[0], labels),
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return in_onnxruntime(suppressed, random_boxes(9, 0), tmp_path_factory.mktemp("suppression"))


def assert_same(run, arguments):
    for output, (ours, theirs) in enumerate(zip(suppressed(*arguments), run(*arguments), strict=True)):
        np.testing.assert_array_equal(theirs, ours.numpy(), err_msg=f"output {output}")


@pytest.mark.parametrize("count", [0, 1, 2, 5, 50, 600])
def test_the_same_boxes_remain(run, count):
    assert_same(run, random_boxes(count, count))


def test_equal_scores_keep_the_order_of_boxes(run):
    boxes, scores, images, labels = random_boxes(300, 1)
    assert_same(run, (boxes, torch.full_like(scores, 0.5), images, labels))


def test_all_in_one_image_or_in_none(run):
    boxes, scores, images, labels = random_boxes(100, 2)
    for image in (0, 2, -1, 3):
        assert_same(run, (boxes, scores, torch.full_like(images, image), labels))


def test_an_overlap_of_exactly_the_threshold(run):
    # 0.3 in float32 is greater than the number 0.3; 0.5 is itself, and not greater.
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 3], [20, 0, 30, 10], [20, 0, 30, 5]])
    arguments = boxes, torch.tensor([0.9, 0.8, 0.7, 0.6]), torch.tensor([0, 0, 1, 1]), torch.zeros(4).long()
    assert run(*arguments)[5].tolist() == [1, 1, 0]
    assert run(*arguments)[7].tolist() == [2, 2, 0]
    assert_same(run, arguments)


def test_boxes_without_size_inverted_or_not_finite(run):
    boxes, scores, images, labels = random_boxes(120, 3)
    boxes[::5, 2:] = boxes[::5, :2]  # no size
    boxes[1::5, 2] = boxes[1::5, 0] - 5  # inverted, in one direction and in both
    boxes[2::10, 2:] = boxes[2::10, :2] - 5
    boxes[3::20, 0] = torch.nan
    images[3::20] = -1  # postprocessing takes boxes that are not finite out
    assert_same(run, (boxes, scores, images, labels))


def test_a_negative_threshold_cannot_be_exported(tmp_path):
    with pytest.raises(Exception, match=r"An IoU threshold below 0, got -0\.5, cannot be exported to ONNX"):
        in_onnxruntime(lambda boxes, scores: nms(boxes, scores, -0.5), random_boxes(9, 0)[:2], tmp_path)
