"""A class and a box: losses and boxes against a loop, in float64."""

import pytest
import torch
from contexts import context_of

from detkit.heads import LocalizationHead
from detkit.heads.image.image_head import largest_objects
from detkit.heads.image.localization import LocalizationOutput
from detkit.structures import Target

CLASSES = 4
SIZES = [(60, 80), (100, 40), (50, 50), (70, 90)]


def _targets():
    """The largest object of the image's class is: the second; none, for it is a crowd; none at all; the only."""
    return [
        Target(torch.tensor([[2.0, 2, 9, 9], [10, 5, 70, 30], [0, 0, 79, 59]]), torch.tensor([1, 1, 2]), image_label=1),
        Target(torch.tensor([[5.0, 6, 30, 90]]), torch.tensor([3]), iscrowd=torch.tensor([True]), image_label=3),
        Target.empty(image_label=0),
        Target(torch.tensor([[1.0, 1, 4, 8]]), torch.tensor([2]), iscrowd=torch.tensor([False]), image_label=2),
    ]


def _raw(seed, boxes):
    generator = torch.Generator().manual_seed(seed)
    return LocalizationOutput(
        torch.randn(4, CLASSES, generator=generator), torch.randn(4, boxes, 4, generator=generator)
    )


def test_the_largest_object_of_the_images_class_is_learned():
    boxes, rows = largest_objects(_targets(), torch.device("cpu"))
    assert rows.tolist() == [1, -1, -1, 3]  # of all objects in turn, crowds left out
    assert boxes[0].tolist() == [10, 5, 70, 30]
    assert boxes[3].tolist() == [1, 1, 4, 8]


@pytest.mark.parametrize("class_agnostic", [False, True])
@pytest.mark.parametrize("box_loss", ["l2", "smooth_l1"])
@pytest.mark.parametrize("seed", [0, 1])
def test_losses_against_a_loop(seed, box_loss, class_agnostic):
    head = LocalizationHead(3, CLASSES, class_agnostic=class_agnostic, box_loss=box_loss)
    raw = _raw(seed, 1 if class_agnostic else CLASSES)
    losses = head.losses(raw, context_of(SIZES, _targets()))
    expected = 0.0
    for row, label, box in ((0, 1, (10, 5, 70, 30)), (3, 2, (1, 1, 4, 8))):
        height, width = SIZES[row]
        edges = raw.edges.double()[row, 0 if class_agnostic else label].tolist()
        windows, sides = (0, 0, width, height), (width, height, width, height)
        for edge, side, corner, start in zip(edges, sides, box, windows, strict=True):
            distance = abs(edge - (corner - start) / (0.1 * side))
            quadratic = box_loss == "l2" or distance < 1
            expected += 0.5 * distance**2 if quadratic else distance - 0.5
    assert losses["localization_box"].item() == pytest.approx(expected / 4, rel=1e-5)
    logits = raw.logits.double().log_softmax(dim=1)
    assert losses["localization_cls"].item() == pytest.approx(-logits[range(4), [1, 3, 0, 2]].mean().item(), rel=1e-5)


def test_without_objects_losses_are_attached():
    torch.manual_seed(0)
    head = LocalizationHead(3, CLASSES)
    losses = head.losses(
        head(torch.randn(1, 3, 6, 6), context_of((48, 48))), context_of([(48, 48)], [Target.empty(image_label=2)])
    )
    assert losses["localization_box"].item() == 0
    sum(losses.values()).backward()
    assert all(parameter.grad is not None for parameter in head.parameters())


@pytest.mark.parametrize("class_agnostic", [False, True])
def test_answers_are_boxes_of_the_likeliest_classes(class_agnostic):
    head = LocalizationHead(3, CLASSES, class_agnostic=class_agnostic, answers=3)
    raw = _raw(3, 1 if class_agnostic else CLASSES)
    for row, detections in enumerate(head.decode(raw, context_of(SIZES))):
        height, width = SIZES[row]
        assert detections.labels.tolist() == raw.logits[row].argsort(descending=True)[:3].tolist()
        for box, label in zip(detections.boxes, detections.labels.tolist(), strict=True):
            x1, y1, x2, y2 = (
                raw.edges[row, 0 if class_agnostic else label].mul(0.1).add(torch.tensor([0, 0, 1, 1])).tolist()
            )
            expected = [min(x1, x2) * width, min(y1, y2) * height, max(x1, x2) * width, max(y1, y2) * height]
            limits = [width, height, width, height]
            clipped = [min(max(value, 0), limit) for value, limit in zip(expected, limits, strict=True)]
            assert box.tolist() == pytest.approx(clipped, abs=1e-3)


def test_what_it_encodes_it_decodes():
    head = LocalizationHead(3, CLASSES)
    targets = [_targets()[0], _targets()[3]]
    boxes, _ = largest_objects(targets, torch.device("cpu"))
    edges = torch.zeros(2, CLASSES, 4)
    windows = torch.tensor([[0.0, 0, 80, 60], [0, 0, 90, 70]])
    edges[[0, 1], [1, 2]] = head.coder.encode(windows, boxes)
    logits = torch.zeros(2, CLASSES)
    logits[[0, 1], [1, 2]] = 9.0
    raw = LocalizationOutput(logits, edges)
    assert head.losses(raw, context_of([SIZES[0], SIZES[3]], targets))["localization_box"].item() == 0
    for detections, box in zip(head.decode(raw, context_of([SIZES[0], SIZES[3]])), boxes, strict=True):
        torch.testing.assert_close(detections.boxes[0], box)


def test_an_image_without_a_class_or_without_boxes_teaches_as_much_as_it_says():
    head, raw = LocalizationHead(3, CLASSES), _raw(5, CLASSES)
    targets = _targets()
    expected = head.losses(LocalizationOutput(*(part[:2] for part in raw)), context_of(SIZES[:2], targets[:2]))
    unknown = [Target(), Target(targets[3].boxes, targets[3].labels)]
    result = head.losses(raw, context_of(SIZES, [*targets[:2], *unknown]))
    torch.testing.assert_close(result, expected)
    without_boxes = head.losses(raw, context_of(SIZES, [*targets[:2], Target(image_label=1), Target(image_label=2)]))
    torch.testing.assert_close(without_boxes["localization_box"], expected["localization_box"])
    labels = torch.tensor([1, 3, 1, 2])
    torch.testing.assert_close(without_boxes["localization_cls"], torch.nn.functional.cross_entropy(raw.logits, labels))
