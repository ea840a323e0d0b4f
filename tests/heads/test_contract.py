"""What every head promises to those outside of it: candidates, assignment, and what `None` and empty mean."""

from functools import partial

import pytest
import torch
from contexts import context_of

from detkit.heads import (
    NMS,
    ClassificationHead,
    FCOSHead,
    LocalizationHead,
    OverFeatHead,
    RetinaNetHead,
    SSDHead,
    SSDliteHead,
    YOLOv1Head,
    YOLOv2Head,
    YOLOv3Head,
    YOLOv4Head,
)
from detkit.structures import Target

CLASSES, SIZE = 3, (96, 128)
STRIDES = [8, 16, 32]
ANCHORS = [[(8.0, 10.0), (14.0, 9.0)], [(20.0, 24.0), (30.0, 18.0)], [(44.0, 60.0), (90.0, 70.0)]]
MANY = NMS(score_threshold=1e-4, candidates=100_000, detections=100_000)

HEADS = {
    "retinanet": partial(RetinaNetHead, [6] * 3, STRIDES, CLASSES, convolutions=1),
    "retinanet with background": partial(
        RetinaNetHead, [6] * 3, STRIDES, CLASSES, convolutions=1, background_logit=True
    ),
    "fcos": partial(FCOSHead, [6] * 3, STRIDES, CLASSES, convolutions=1),
    "ssd": partial(SSDHead, [6] * 3, STRIDES, CLASSES, sizes=[14, 24, 40, 64]),
    "ssdlite": partial(SSDliteHead, [6] * 3, STRIDES, CLASSES, sizes=[14, 24, 40, 64]),
    "yolo_v1": partial(YOLOv1Head, [6] * 3, STRIDES, CLASSES, side=3, hidden=8),
    "yolo_v2": partial(YOLOv2Head, [6], [32], CLASSES, [ANCHORS[2]]),
    "yolo_v3": partial(YOLOv3Head, [6] * 3, STRIDES, CLASSES, ANCHORS),
    "yolo_v4": partial(YOLOv4Head, [6] * 3, STRIDES, CLASSES, ANCHORS),
    "overfeat": partial(OverFeatHead, [6] * 3, STRIDES, CLASSES, window=1, class_hidden=(8,), box_hidden=(8,)),
}
DENSE = pytest.mark.parametrize("name", HEADS)


def _size(name):
    return (96, 96) if name == "yolo_v1" else SIZE


def _made(name, **options):
    """A head and features; its outputs spread enough to say something."""
    torch.manual_seed(2)
    head = HEADS[name](**options).eval()
    for parameter in head.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    strides = [32] if name == "yolo_v2" else STRIDES
    height, width = _size(name)
    features = [torch.randn(2, 6, height // stride, width // stride, requires_grad=True) for stride in strides]
    return head, features


def _target(seed, size, crowd=0):
    generator = torch.Generator().manual_seed(seed)
    sides = 12 + torch.rand(4, 2, generator=generator) * 40
    corners = torch.rand(4, 2, generator=generator) * (torch.tensor([size[1], size[0]]) - sides)
    labels = torch.randint(CLASSES, (4,), generator=generator)
    return Target(torch.cat((corners, corners + sides), dim=1), labels, iscrowd=torch.arange(4) < crowd)


class TestCandidates:
    @DENSE
    def test_gradient_reaches_the_features(self, name):
        head, features = _made(name)
        two = context_of([_size(name)] * 2)
        candidates = head.candidates(head(features, two), two)
        count = len(candidates.boxes)
        assert candidates.boxes.shape == (count, 4)
        assert candidates.logits.shape[0] == candidates.image_index.shape[0] == count
        assert candidates.image_index.tolist() == [0] * (count // 2) + [1] * (count // 2)
        parts = [candidates.boxes, candidates.logits, candidates.objectness]
        for part in [part for part in parts if part is not None]:
            part[candidates.image_index == 1].sum().backward(retain_graph=True)
            read = [feature for feature in features if feature.grad is not None]
            assert read
            assert all(feature.grad[1].abs().sum() > 0 and feature.grad[0].abs().sum() == 0 for feature in read)
            for feature in features:
                feature.grad = None

    @DENSE
    def test_suppressed_by_hand_are_the_detections(self, name):
        head, features = _made(name, postprocess=MANY)
        two = context_of([_size(name), (80, 70)])
        raw = _sensible(name, head(features, two))
        candidates = head.candidates(raw, two)
        scores = candidates.scores()
        assert scores.shape == (len(candidates.boxes), CLASSES)
        row, label = torch.where(scores > head.postprocess.score_threshold)
        selected = candidates.boxes[row], scores[row, label], label, candidates.image_index[row]
        expected = head.postprocess(*selected, two.batch.sizes)
        for detections, by_hand in zip(head.decode(raw, two), expected, strict=True):
            assert len(detections) > 10
            assert len(detections) == len(by_hand)
            torch.testing.assert_close(detections.scores, by_hand.scores, rtol=1e-4, atol=1e-5)
            rows = _nearest(by_hand, detections)
            assert rows.unique().numel() == len(
                detections
            )  # each is one of the others, in whatever order equal scores are
            assert torch.equal(detections.labels, by_hand.labels[rows])
            torch.testing.assert_close(detections.boxes, by_hand.boxes[rows], rtol=1e-4, atol=1e-3)
            torch.testing.assert_close(detections.scores, by_hand.scores[rows], rtol=1e-4, atol=1e-5)


def _nearest(others, detections):
    """Of each detection the row of `others` that has its label and is nearest to its box and score."""
    distance = (detections.boxes[:, None] - others.boxes).abs().amax(dim=2) + (
        detections.scores[:, None] - others.scores
    ).abs()
    return distance.masked_fill(detections.labels[:, None] != others.labels, torch.inf).argmin(dim=1)


def _sensible(name, raw):
    """Outputs of which candidates tell all: probabilities, and of each window one class beside background."""
    if name == "yolo_v1":
        return raw._replace(classes=raw.classes.sigmoid(), confidences=raw.confidences.sigmoid())
    if name == "overfeat":
        keep = torch.nn.functional.one_hot(raw.logits[..., :CLASSES].argmax(dim=2), CLASSES + 1).bool()
        keep[..., CLASSES] = True
        return raw._replace(logits=raw.logits.masked_fill(~keep, -1e4))
    return raw


class TestAssign:
    @DENSE
    def test_rows_are_of_objects_of_the_same_image(self, name):
        head, features = _made(name)
        size = _size(name)
        targets = [_target(0, size, crowd=1), _target(1, size)]
        two = context_of([size] * 2, targets)
        raw = head(features, two)
        rows, candidates = head.assign(raw, two), head.candidates(raw, two)
        assert rows.shape == candidates.image_index.shape
        assert rows.dtype == torch.int64
        of_first, of_second = rows[candidates.image_index == 0], rows[candidates.image_index == 1]
        assert set(of_first.tolist()) <= {-2, -1, 0, 1, 2}  # without the crowd
        assert set(of_second.tolist()) <= {-2, -1, 3, 4, 5, 6}
        assert (of_first >= 0).any()
        assert (of_second >= 0).any()
        assert (rows == -1).any()

    @DENSE
    def test_what_is_neither_learns_nothing(self, name):
        whole_sample = {"positives_per_image": 10_000, "negatives_per_image": 10_000}
        options = {"yolo_v2": {"prior_images": 0}, "overfeat": whole_sample}.get(name, {})
        head, features = _made(name, **options)
        size = _size(name)
        half = torch.tensor([[-400.0, -400.0, size[1] / 2, 900.0]])
        crowd = Target(half, torch.tensor([0]), iscrowd=torch.tensor([True]))
        two = context_of([size] * 2, [crowd, _target(1, size)])
        raw = head(features, two)
        candidates, rows = head.candidates(raw, two), head.assign(raw, two)
        neither = (rows == -2) & (candidates.image_index == 0)
        assert neither.any()
        before = head.losses(raw, two)
        with torch.no_grad():
            changed = _changed(raw, neither.view(2, -1))
            others = _changed(raw, ((rows == -1) & (candidates.image_index == 1)).view(2, -1))
        torch.testing.assert_close(head.losses(changed, two), before)
        learned = head.losses(others, two)  # as what is background does
        assert any(not torch.isclose(learned[key], before[key]) for key in before)

    @DENSE
    def test_objects_without_boxes_are_nothing_to_find(self, name):
        head, features = _made(name)
        size = _size(name)
        two = context_of([size] * 2, [Target(), Target.empty()])
        rows = head.assign(head(features, two), two).view(2, -1)
        assert (rows[0] == -2).all()
        assert (rows[1] == -1).all()


def _changed(raw, where):
    """`raw` with other class logits, or the confidence of YOLOs, in the places of the candidates `where` ``(B, P)``."""
    if hasattr(raw, "confidences"):
        return raw._replace(confidences=torch.where(where.view_as(raw.confidences), 0.3, raw.confidences))
    if hasattr(raw, "logits"):
        return raw._replace(logits=torch.where(where[..., None], 1.5, raw.logits))
    if hasattr(raw, "classes"):
        parts = where.split([level.shape[1] for level in raw.classes], dim=1)
        levels = zip(raw.classes, parts, strict=True)
        return raw._replace(classes=[torch.where(part[..., None], 1.5, level) for level, part in levels])
    parts = where.split([level[0, ..., 0].numel() for level in raw], dim=1)
    changed = [level.clone() for level in raw]
    for level, part in zip(changed, parts, strict=True):
        level[..., 4] = torch.where(part.view_as(level[..., 4]), 1.5, level[..., 4])
    return changed


class TestNoneAndEmpty:
    @DENSE
    def test_an_image_without_annotation_is_as_if_it_were_not_there(self, name):
        head, features = _made(name)
        size = _size(name)
        one, two = context_of([size], [_target(3, size, 1)]), context_of([size] * 2, [_target(3, size, 1), Target()])
        torch.manual_seed(0)
        alone = head.losses(head([feature[:1] for feature in features], one), one)
        torch.manual_seed(0)
        both = head.losses(head(features, two), two)
        torch.testing.assert_close(both, alone, rtol=1e-4, atol=1e-6)

    @DENSE
    def test_without_any_annotation_there_is_nothing_to_learn(self, name):
        head, features = _made(name)
        two = context_of([_size(name)] * 2, [Target(), Target()])
        losses = head.losses(head(features, two), two)
        assert all(loss == 0 and loss.requires_grad for loss in losses.values())
        sum(losses.values()).backward()
        for parameter_name, parameter in head.named_parameters():
            assert parameter.grad is not None, f"{parameter_name} is not attached to the losses"
            assert (parameter.grad == 0).all()

    @DENSE
    def test_an_image_without_objects_teaches_background(self, name):
        head, features = _made(name)
        two = context_of([_size(name)] * 2, [Target.empty(), Target()])
        losses = head.losses(head(features, two), two)
        # SSD has as much background as objects.
        assert (float(sum(losses.values()).detach()) > 0) != name.startswith("ssd")


@DENSE
def test_losses_are_those_of_training_in_either_mode(name):
    head, features = _made(name)
    size = _size(name)
    two = context_of([size] * 2, [_target(0, size), _target(1, size)])
    raw = head(features, two)
    torch.manual_seed(0)
    evaluating = head.eval().losses(raw, two)
    torch.manual_seed(0)
    training = head.train().losses(raw, two)
    assert all(torch.equal(training[key], evaluating[key]) for key in training)


class TestImagesSeen:
    """YOLOv2's early loss ends after so many images: those of steps that reached the weights."""

    def _losses(self, head, features):
        two = context_of([SIZE] * 2, [_target(0, SIZE), _target(1, SIZE)])
        return sum(head.losses(head(features, two), two).values())

    def test_count_with_the_gradient_of_the_weights(self):
        head, features = _made("yolo_v2")
        self._losses(head, features).backward()
        assert head.seen == 2
        self._losses(head.eval(), features).backward()
        assert head.seen == 4

    def test_do_not_count_in_validation_or_for_a_gradient_in_the_image(self):
        head, features = _made("yolo_v2")
        head.train()
        with torch.no_grad():
            self._losses(head, features)
        self._losses(head, features)
        torch.autograd.grad(self._losses(head, features), features[0])
        assert head.seen == 0

    def test_end_the_early_loss(self):
        head, features = _made("yolo_v2", prior_images=2)
        first = self._losses(head, features)
        first.backward()
        assert self._losses(head, features) < first


class TestHeadsOfImages:
    @pytest.mark.parametrize("kind", [ClassificationHead, LocalizationHead])
    def test_have_a_candidate_for_each_image(self, kind):
        torch.manual_seed(0)
        head, features = kind(6, CLASSES), torch.randn(2, 6, 4, 4, requires_grad=True)
        objects = _target(0, SIZE, crowd=2)
        label = int(objects.labels[3])
        known = Target(objects.boxes, objects.labels, iscrowd=objects.iscrowd, image_label=label)
        two = context_of([SIZE, (80, 70)], [known, Target()])
        raw = head(features, two)
        candidates = head.candidates(raw, two)
        assert candidates.image_index.tolist() == [0, 1]
        candidates.logits.sum().backward()
        assert features.grad.abs().sum() > 0
        of_class = [row for row in (0, 1) if objects.labels[2 + row] == label]
        areas = (objects.boxes[2:, 2:] - objects.boxes[2:, :2]).prod(dim=1)
        assert head.assign(raw, two).tolist() == [max(of_class, key=lambda row: float(areas[row])), -2]
        if kind is ClassificationHead:
            assert candidates.boxes.tolist() == [[0, 0, 128, 96], [0, 0, 70, 80]]
        else:
            best = head.decode(raw, two)
            assert [int(detections.labels[0]) for detections in best] == candidates.logits.argmax(dim=1).tolist()


class TestImagesOfDifferentSizes:
    """Beside each other in one batch, the smaller one in a corner of its part."""

    @pytest.mark.parametrize("name", [name for name in HEADS if name != "overfeat"])  # which draws at random
    def test_their_order_does_not_matter(self, name):
        head, features = _made(name)
        large, sizes = _size(name), [(32, 32), _size(name)]
        small = Target(torch.tensor([[2.0, 3, 30, 31]]), torch.tensor([1]))
        targets = [small, _target(1, large)]
        losses = []
        for order in ([0, 1], [1, 0]):
            two = context_of([sizes[index] for index in order], [targets[index] for index in order], large)
            losses.append(head.losses(head([feature[order] for feature in features], two), two))
        torch.testing.assert_close(losses[0], losses[1], rtol=1e-4, atol=1e-6)
        assert all(loss >= 0 for loss in losses[0].values())

    @pytest.mark.parametrize("name", ["yolo_v2", "yolo_v3"])
    def test_a_long_image_beside_a_square_one_has_no_negative_loss(self, name):
        head, _ = _made(name)
        strides = [32] if name == "yolo_v2" else STRIDES
        features = [torch.randn(2, 6, 64 // stride, 640 // stride) for stride in strides]
        long = Target(torch.tensor([[0.0, 0, 630, 60]]), torch.tensor([0]))
        square = Target(torch.tensor([[0.0, 0, 60, 60]]), torch.tensor([2]))
        together = context_of([(64, 64), (64, 640)], [square, long])
        losses = head.losses(head(features, together), together)
        assert all(loss >= 0 for loss in losses.values())
        if name == "yolo_v3":
            alone = []
            for index, (size, target) in enumerate([((64, 64), square), ((64, 640), long)]):
                one = context_of([size], [target], (64, 640))
                alone.append(head.losses(head([feature[[index]] for feature in features], one), one)["yolo_box"])
            torch.testing.assert_close(losses["yolo_box"], sum(alone) / 2)
