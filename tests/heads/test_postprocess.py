"""From scored boxes to detections for a whole batch, against each image alone in plain loops."""

import math

import pytest
import torch

from detkit.heads import NMS, SoftNMS, TopK
from detkit.heads.scored_boxes import topk_of_classes, topk_per_group
from detkit.ops import soft_nms
from detkit.structures import Detections

SIZES = [(16, 20), (24, 12), (9, 30)]


def _problem(seed, count=150, classes=4, sizes=SIZES):
    """Boxes on a coarse grid partly outside of the images, and scores without ties."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.randint(-4, 20, (count, 2), generator=generator)
    size = torch.randint(0, 12, (count, 2), generator=generator)
    scores = torch.rand(count, generator=generator)
    labels = torch.randint(0, classes, (count,), generator=generator)
    image = torch.randint(0, len(sizes), (count,), generator=generator).sort().values
    return torch.cat((corner, corner + size), dim=1).float(), scores, labels, image


def _cut(box, size):
    height, width = size
    return [min(max(box[0], 0), width), min(max(box[1], 0), height), min(max(box[2], 0), width),
            min(max(box[3], 0), height)]  # fmt: skip


def _iou(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    overlap = max(width, 0) * max(height, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - overlap
    return overlap / union if union else 0.0


def _by_hand(part, boxes, scores, labels, size):
    """(box, score, label) of one image, in loops."""
    rows = []
    for box, score, label in zip(boxes.tolist(), scores.tolist(), labels.tolist(), strict=True):
        box = _cut(box, size) if part.clip == "before" else box
        high_enough = score >= part.score_threshold if part.at_threshold else score > part.score_threshold
        if high_enough and min(box[2] - box[0], box[3] - box[1]) >= part.least_side:
            rows.append((box, score, label))
    rows.sort(key=lambda row: -row[1])
    if part.candidates_of == "image":
        rows = rows[: part.candidates]
    if part.candidates_of == "class":
        rows = [row for at, row in enumerate(rows) if sum(other[2] == row[2] for other in rows[:at]) < part.candidates]
    kept = []
    for box, score, label in rows:
        rivals = [better for better, _, other in kept if other == label]
        if isinstance(part, TopK) or all(_iou(box, better) <= part.iou_threshold for better in rivals):
            kept.append((box, score, label))
    return [(_cut(box, size), score, label) for box, score, label in kept[: part.detections]]


PARTS = {
    "of an image": NMS().with_defaults(0.1, 0.4, 30, 12),
    "of a class": NMS().with_defaults(0.1, 0.4, 5, 12, candidates_of="class"),
    "cut after": NMS().with_defaults(0.3, 0.21, 40, 100, clip="after"),
    "no splinters": NMS().with_defaults(0.0, 0.5, 1000, 100, least_side=3.0),
    "no suppression": TopK().with_defaults(0.2, 0.4, 20, 10),
    "no limits": NMS(score_threshold=-1.0, iou_threshold=0.6),
}


class TestPostprocess:
    @pytest.mark.parametrize("seed", range(3))
    @pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
    def test_a_batch_equals_each_image_in_loops(self, part, seed):
        boxes, scores, labels, image = _problem(seed)
        result = part(boxes, scores, labels, image, SIZES)
        assert [type(per_image) for per_image in result] == [Detections] * len(SIZES)
        for index, (per_image, size) in enumerate(zip(result, SIZES, strict=True)):
            own = image == index
            expected = _by_hand(part, boxes[own], scores[own], labels[own], size)
            assert expected
            assert per_image.boxes.tolist() == [box for box, _, _ in expected]
            assert per_image.scores.tolist() == [score for _, score, _ in expected]
            assert per_image.labels.tolist() == [label for _, _, label in expected]

    def test_soft_suppression_lowers_scores_within_image_and_class(self):
        boxes, scores, labels, image = _problem(5)
        part = SoftNMS(method="gaussian", sigma=0.3).with_defaults(0.05, 0.5, None, 1000)
        result = part(boxes, scores, labels, image, [(40, 40)] * 3)
        for index, per_image in enumerate(result):
            own = (image == index) & (scores > 0.05)
            cut = boxes[own].clamp(0, 40)
            kept, lowered = soft_nms(
                cut, scores[own], sigma=0.3, method="gaussian", score_threshold=0.05, labels=labels[own]
            )
            assert torch.equal(per_image.boxes, cut[kept])
            assert torch.equal(per_image.scores, lowered)
        assert sum(len(per_image) for per_image in result) < len(boxes)

    def test_images_without_boxes_get_empty_detections(self):
        boxes, scores, labels, image = _problem(0)
        own = image == 1
        detections = NMS(0.1, 0.5)(boxes[own], scores[own], labels[own], image[own], SIZES)
        assert [len(per_image) > 0 for per_image in detections] == [False, True, False]
        nothing = torch.zeros(0, dtype=torch.int64)
        for part in (NMS(), SoftNMS(), TopK()):
            assert [len(one) for one in part(torch.zeros(0, 4), torch.zeros(0), nothing, nothing, SIZES)] == [0, 0, 0]

    @pytest.mark.parametrize("bad", [math.nan, math.inf])
    def test_what_is_not_finite_is_dropped(self, bad):
        boxes = torch.tensor([[0.0, 0.0, 5.0, 5.0], [8.0, 0.0, 12.0, 5.0], [0.0, 8.0, 5.0, 12.0]])
        scores = torch.tensor([0.9, 0.8, math.nan])
        boxes[0, 2] = bad
        labels = image = torch.zeros(3, dtype=torch.int64)
        detections = NMS(0.1).with_defaults(clip="after")(boxes, scores, labels, image, [(20, 20)])[0]
        assert detections.scores.tolist() == pytest.approx([0.8])

    def test_half_precision_is_selected_in_float32(self):
        boxes, scores, labels, image = _problem(0)
        detections = NMS(0.1)(boxes.bfloat16(), scores.bfloat16(), labels, image, SIZES)
        assert detections[0].boxes.dtype == detections[0].scores.dtype == torch.float32


class TestDefaults:
    def test_a_head_fills_only_what_was_left_out(self):
        part = NMS(score_threshold=0.3).with_defaults(0.05, 0.6, 1000, 100)
        assert (part.score_threshold, part.iou_threshold) == (0.3, 0.6)
        assert (part.candidates, part.detections) == (1000, 100)

    def test_a_part_may_be_given_to_several_heads(self):
        given = NMS()
        given.with_defaults(0.05, 0.6, 1000, 100)
        assert given.score_threshold is None

    def test_a_score_at_the_threshold_counts_where_the_head_says_so(self):
        scores = torch.tensor([0.5, 0.4, math.nan])
        assert NMS(0.5).above_threshold(scores).tolist() == [False, False, False]
        assert NMS(0.5).with_defaults(at_threshold=True).above_threshold(scores).tolist() == [True, False, False]
        assert NMS().above_threshold(scores).tolist() == [True, True, False]

    def test_passes_is_the_old_name_of_above_threshold(self):
        with pytest.warns(DeprecationWarning, match=r"NMS\.passes is NMS\.above_threshold now"):
            assert NMS(0.5).passes(torch.tensor([0.6, 0.4])).tolist() == [True, False]


def test_boxes_of_a_head_that_does_not_cut_reach_beyond_the_image():
    boxes = torch.tensor([[-5.0, 2.0, 30.0, 8.0], [3.0, 3.0, 6.0, torch.inf]])
    arguments = (torch.ones(2), torch.zeros(2).long(), torch.zeros(2).long(), [(10, 10)])
    assert torch.equal(NMS().with_defaults(clip=None)(boxes, *arguments)[0].boxes, boxes[:1])
    assert NMS().with_defaults(clip="after")(boxes, *arguments)[0].boxes.tolist() == [[0, 2, 10, 8]]


class TestLikeliest:
    @pytest.mark.parametrize("few", [False, True])
    @pytest.mark.parametrize("of", ["level", "image", "class"])
    def test_equals_each_image_alone(self, of, few):
        scores = torch.rand(3, 50, 4, generator=torch.Generator().manual_seed(1))
        scores[1] = 0
        if few:
            scores[torch.rand(3, 50, 4, generator=torch.Generator().manual_seed(2)) < 0.9] = 0
        part = NMS().with_defaults(0.5, 0.5, 3 if few else 20, 100, candidates_of=of)
        image, place, label, values = part.topk_candidates(scores)
        assert torch.equal(values, scores[image, place, label])
        assert torch.equal(image, image.sort().values)
        for index, per_image in enumerate(scores):
            likely = per_image[per_image > 0.5].sort(descending=True).values
            expected = likely[: part.candidates]
            if of == "class":
                best = [
                    of_class[of_class > 0.5].sort(descending=True).values[: part.candidates]
                    for of_class in per_image.unbind(dim=1)
                ]
                expected = torch.cat(best).sort(descending=True).values
            assert torch.equal(values[image == index].sort(descending=True).values, expected)


def test_the_best_of_each_class_are_the_same_among_all_scores_and_among_those_that_pass():
    scores = torch.rand(2, 30, 5, generator=torch.Generator().manual_seed(0))
    scores[scores < 0.4] = -torch.inf
    image, location, label, values = topk_of_classes(scores, 7)
    passing = torch.where(scores.flatten() > 0)[0]
    best = passing[topk_per_group(scores.flatten()[passing], passing // 150 * 5 + passing % 5, 7)]
    assert torch.equal((image * 30 + location) * 5 + label, best)
    assert torch.equal(values, scores.flatten()[best])
    assert len(topk_of_classes(scores[:, :0], 7)[0]) == 0


def test_topk_per_group_class():
    scores = torch.tensor([0.1, 0.9, 0.5, 0.7, 0.8, 0.2])
    labels = torch.tensor([2, 0, 2, 0, 0, 2])
    assert sorted(topk_per_group(scores, labels, 2).tolist()) == [1, 2, 4, 5]
    assert len(topk_per_group(scores[:0], labels[:0], 2)) == 0
