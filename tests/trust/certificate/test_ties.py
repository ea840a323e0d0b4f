"""What rounding decides: equal values at the end of a ranking, and in suppression."""

import pytest
import torch

from detkit.ops import batched_nms_padded, nms
from detkit.trust.certificate.ties import TieCounter

BOXES = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5]])  # their IoU is 0.5


def ties_in(function, *args):
    with TieCounter(1e-5) as counter:
        function(*args)
    return counter.ties


@pytest.mark.parametrize(
    ("values", "expected"),
    [([1, 2, 3], 0), ([1, 2, 2], 0), ([2, 2, 2], 1), ([2, 2 + 1e-6, 3], 1), ([2, 2.001, 3], 0)],
)
def test_equal_values_at_the_end_of_a_ranking(values, expected):
    assert ties_in(torch.topk, torch.tensor(values, dtype=torch.float32), 2) == expected


@pytest.mark.parametrize(
    ("logits", "expected"),
    [([1, 2, 3], 0), ([1, 1, 3], 0), ([1, 3, 3], 1), ([1, 3, 3 + 1e-6], 1), ([1, 3, 3.001], 0)],
)
def test_pixels_in_which_two_classes_are_as_good(logits, expected):
    maps = torch.tensor(logits, dtype=torch.float32)[:, None, None].expand(3, 2, 4)
    assert ties_in(torch.argmax, maps, 0) == 8 * expected


def test_a_ranking_of_all_has_no_end():
    assert ties_in(torch.topk, torch.ones(3), 3) == 0


@pytest.mark.parametrize(
    ("scores", "threshold", "expected"),
    [([0.9, 0.8], 0.5, 1), ([0.9, 0.8], 0.4, 0), ([0.9, 0.9], 0.4, 1), ([0.9, 0.9], 0.6, 0)],
    ids=["at the threshold", "of other scores", "of equal scores", "apart"],
)
def test_two_boxes_in_suppression(scores, threshold, expected):
    assert ties_in(nms, BOXES, torch.tensor(scores), threshold) == expected


def test_boxes_of_other_images_or_classes_do_not_compete():
    scores, zeros, others = torch.tensor([0.9, 0.9]), torch.zeros(2).long(), torch.arange(2)
    assert ties_in(batched_nms_padded, BOXES, scores, zeros, 0.4, 1, 2, zeros) == 1
    assert ties_in(batched_nms_padded, BOXES, scores, others, 0.4, 2, 2, zeros) == 0
    assert ties_in(batched_nms_padded, BOXES, scores, zeros, 0.4, 1, 2, others) == 0
