"""The greedy merge of boxes, with a plain quadratic loop as the witness."""

import numpy as np
import pytest
import torch

from detkit.heads.box_merge import match_score, merge_boxes


def plain_score(a, b):
    side = (a[2] - a[0] + a[3] - a[1] + b[2] - b[0] + b[3] - b[1]) / np.float32(4)
    distance = np.hypot((a[0] + a[2] - b[0] - b[2]) / 2, (a[1] + a[3] - b[1] - b[3]) / 2)
    overlap = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    mean_area = ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])) / 2
    return distance / side + 1 - overlap / mean_area


def plain_merge(boxes, scores, labels, threshold):
    """Section 4.3, over a list of (box, score, label) in which a merged box takes the first one's place."""
    result = [(box, score, label) for box, score, label in zip(boxes, scores, labels, strict=True)]
    while True:
        best, pair = np.inf, None
        for i in range(len(result)):
            for j in range(i + 1, len(result)):
                if result[i][2] == result[j][2]:
                    score = plain_score(result[i][0], result[j][0])
                    if score < best:
                        best, pair = score, (i, j)
        if pair is None or best > threshold:
            return sorted(result, key=lambda one: -one[1])
        (box1, score1, label), (box2, score2, _) = result[pair[0]], result[pair[1]]
        result[pair[0]] = ((box1 + box2) / 2, score1 + score2, label)
        del result[pair[1]]


def random_boxes(seed, count, classes):
    """Clusters, as windows around objects are, and a few boxes on their own."""
    generator = torch.Generator().manual_seed(seed)
    objects = torch.rand(5, 2, generator=generator) * 80
    corner = (
        objects[torch.randint(0, 5, (count,), generator=generator)] + torch.randn(count, 2, generator=generator) * 5
    )
    boxes = torch.cat((corner, corner + 10 + torch.rand(count, 2, generator=generator) * 25), dim=1)
    return boxes, torch.rand(count, generator=generator), torch.randint(0, classes, (count,), generator=generator)


@pytest.mark.parametrize("threshold", [0.0, 0.4, 0.6, 1.2])
@pytest.mark.parametrize("seed", [11, 12, 13])
def test_merging_is_the_plain_loop(seed, threshold):
    boxes, scores, labels = random_boxes(seed, count=40, classes=2)
    expected = plain_merge(boxes.double().numpy(), scores.double().numpy(), labels.tolist(), threshold)
    merged, accumulated, of_class = merge_boxes(boxes, scores, labels, threshold)
    assert len(merged) == len(expected)
    assert merged.dtype == accumulated.dtype == torch.float32
    assert of_class.tolist() == [one[2] for one in expected]
    np.testing.assert_allclose(merged.numpy(), np.stack([one[0] for one in expected]), rtol=1e-4)
    np.testing.assert_allclose(accumulated.numpy(), [one[1] for one in expected], rtol=1e-4)
    assert len(merged) < 40 or threshold == 0.0
    assert accumulated.sum() == pytest.approx(float(scores.sum()), rel=1e-4)


def test_equal_boxes_merge_and_their_scores_add_up():
    boxes = torch.tensor([[0.0, 0, 10, 10], [50, 50, 60, 60], [0, 0, 10, 10], [0, 0, 10, 10]])
    merged, scores, labels = merge_boxes(boxes, torch.tensor([0.2, 0.4, 0.3, 0.9]), torch.tensor([0, 0, 0, 1]), 0.0)
    assert merged.tolist() == [[0, 0, 10, 10], [0, 0, 10, 10], [50, 50, 60, 60]]
    assert scores.tolist() == pytest.approx([0.9, 0.5, 0.4])
    assert labels.tolist() == [1, 0, 0]


def test_the_score_is_0_for_equal_boxes_and_does_not_depend_on_the_scale():
    generator = torch.Generator().manual_seed(14)
    boxes = torch.rand(2, 30, 4, generator=generator) * 20
    boxes[..., 2:] += boxes[..., :2] + 1
    scores = match_score(boxes[0], boxes[1])
    torch.testing.assert_close(match_score(boxes[0], boxes[0]), torch.zeros(30), rtol=0, atol=1e-6)
    torch.testing.assert_close(match_score(boxes[1], boxes[0]), scores)
    torch.testing.assert_close(match_score(boxes[0] * 17, boxes[1] * 17), scores)
    expected = [plain_score(a, b) for a, b in boxes.double().numpy().transpose(1, 0, 2)]
    np.testing.assert_allclose(scores.numpy(), expected, rtol=1e-5, atol=1e-5)
    assert match_score(torch.tensor([0.0, 0, 4, 4]), torch.tensor([4.0, 0, 8, 4])) == 2  # side by side


def test_half_precision_is_merged_in_float32():
    boxes, scores, labels = random_boxes(15, count=30, classes=1)
    boxes, scores = boxes.half(), scores.half()
    for result, expected in zip(
        merge_boxes(boxes, scores, labels, 0.5), merge_boxes(boxes.float(), scores.float(), labels, 0.5), strict=True
    ):
        assert torch.equal(result, expected)


def test_without_boxes_nothing_is_merged():
    boxes, scores, labels = merge_boxes(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64), 0.5)
    assert boxes.shape == (0, 4)
    assert scores.shape == labels.shape == (0,)
