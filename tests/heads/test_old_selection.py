"""From scored boxes to detections, against the same in plain loops."""

import pytest
import torch

from detkit.heads.old_selection import select_detections
from detkit.structures import Detections


def _problem(seed, regions=40, classes=4):
    """Boxes on a coarse grid partly outside of the image, and scores of few values: many ties and overlaps."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.randint(-4, 20, (regions, classes, 2), generator=generator)
    size = torch.randint(0, 12, (regions, classes, 2), generator=generator)
    scores = torch.rand(regions, classes, generator=generator)
    return torch.cat((corner, corner + size), dim=2).float(), scores


def _iou(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    overlap = max(width, 0) * max(height, 0)
    return overlap / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - overlap)


def _by_hand(boxes, scores, image_size, score_threshold, nms_threshold, count):
    height, width = image_size
    likely = []
    for region in range(boxes.shape[0]):
        for label in range(boxes.shape[1]):
            x1, y1, x2, y2 = boxes[region, label].tolist()
            box = (min(max(x1, 0), width), min(max(y1, 0), height), min(max(x2, 0), width), min(max(y2, 0), height))
            score = float(scores[region, label])
            if score > score_threshold and box[2] - box[0] >= 0.01 and box[3] - box[1] >= 0.01:
                likely.append((score, label, box))
    kept = []
    for score, label, box in sorted(likely, key=lambda item: -item[0]):
        if all(other != label or _iou(box, better) <= nms_threshold for _, other, better in kept):
            kept.append((score, label, box))
    return kept[:count]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("score_threshold", "nms_threshold", "count"), [(0.05, 0.5, 100), (0.6, 0.31, 10), (0, 1, 500)]
)
def test_equals_loops(seed, score_threshold, nms_threshold, count):
    boxes, scores = _problem(seed)
    detections = select_detections(boxes, scores, (16, 20), score_threshold, nms_threshold, count)
    expected = _by_hand(boxes, scores, (16, 20), score_threshold, nms_threshold, count)
    assert isinstance(detections, Detections)
    assert len(detections) == len(expected) > 0
    assert detections.scores.tolist() == [score for score, _, _ in expected]
    assert detections.labels.tolist() == [label for _, label, _ in expected]
    assert detections.boxes.tolist() == [list(box) for _, _, box in expected]


def test_a_score_at_the_threshold_is_not_above_it():
    boxes = torch.tensor([[[0.0, 0.0, 5.0, 5.0]], [[8.0, 8.0, 15.0, 15.0]]])
    detections = select_detections(boxes, torch.tensor([[0.5], [0.51]]), (20, 20), 0.5, 0.5, 10)
    assert detections.boxes.tolist() == [[8, 8, 15, 15]]


def test_classes_do_not_suppress_each_other():
    boxes = torch.tensor([[[0.0, 0.0, 5.0, 5.0]] * 2])
    detections = select_detections(boxes, torch.tensor([[0.9, 0.8]]), (20, 20), 0.05, 0.5, 10)
    assert detections.labels.tolist() == [0, 1]


def test_nothing_in_nothing_out():
    detections = select_detections(torch.zeros(0, 3, 4), torch.zeros(0, 3), (20, 20), 0.05, 0.5, 10)
    assert len(detections) == 0
    detections = select_detections(torch.zeros(4, 3, 4), torch.ones(4, 3), (20, 20), 0.05, 0.5, 10)  # without area
    assert len(detections) == 0


def test_half_precision_is_selected_in_float32():
    boxes, scores = _problem(0)
    boxes, scores = boxes.to(torch.bfloat16), scores.to(torch.bfloat16)
    detections = select_detections(boxes, scores, (16, 20), 0.05, 0.5, 100)
    expected = select_detections(boxes.float(), scores.float(), (16, 20), 0.05, 0.5, 100)
    assert detections.boxes.dtype == detections.scores.dtype == torch.float32
    assert torch.equal(detections.boxes, expected.boxes)


def test_what_is_not_finite_is_dropped():
    boxes, scores = torch.tensor([[[0.0, 0.0, 5.0, 5.0]]]).repeat(4, 1, 1), torch.tensor([[0.9], [0.8], [0.7], [0.6]])
    boxes[0, 0, 2], boxes[1, 0, 0], scores[2, 0] = torch.nan, torch.nan, torch.nan
    detections = select_detections(boxes, scores, (20, 20), 0.05, 0.5, 10)
    assert detections.scores.tolist() == pytest.approx([0.6])
