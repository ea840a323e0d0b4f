"""The class of the whole image: losses against their definition."""

import pytest
import torch
from contexts import context_of

from detkit.errors import InputError
from detkit.heads import ClassificationHead
from detkit.structures import Target

CLASSES = 7


def _targets(labels):
    return [Target.empty(image_id=f"{index}.jpg", image_label=label) for index, label in enumerate(labels)]


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.4])
def test_label_smoothing_is_the_papers(smoothing):
    """q'(k) = (1 - e) [k = y] + e / K (Szegedy 2016, equation 7.1), in float64."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, CLASSES, generator=generator) * 3
    labels = [3, 0, 6, 6, 1]
    head = ClassificationHead(None, CLASSES, label_smoothing=smoothing)
    loss = head.losses(head(logits, context_of((8, 8))), context_of([(8, 8)] * 5, _targets(labels)))["cls"]
    wanted = torch.full((5, CLASSES), smoothing / CLASSES, dtype=torch.float64)
    wanted[range(5), labels] += 1 - smoothing
    expected = -(wanted * logits.double().log_softmax(dim=1)).sum(dim=1).mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)


def test_auxiliary_classifiers_count_three_tenths():
    generator = torch.Generator().manual_seed(1)
    outputs = tuple(torch.randn(3, CLASSES, generator=generator) for _ in range(3))
    head, targets, sizes = ClassificationHead(None, CLASSES), _targets([1, 2, 3]), [(8, 8)] * 3
    main, first, second = (
        head.losses(head(one, context_of((8, 8))), context_of(sizes, targets))["cls"] for one in outputs
    )
    total = head.losses(head(outputs, context_of((8, 8))), context_of(sizes, targets))["cls"]
    torch.testing.assert_close(total, main + 0.3 * (first + second))


def test_the_linear_layer_stands_on_the_mean():
    torch.manual_seed(0)
    head = ClassificationHead(4, CLASSES)
    features = torch.randn(2, 4, 5, 3)
    expected = features.flatten(2).mean(dim=2) @ head.classes.weight.T + head.classes.bias
    torch.testing.assert_close(head(features, context_of((8, 8))).logits, expected)


@pytest.mark.parametrize(("answers", "count"), [(1, 1), (5, 5), (50, CLASSES)])
def test_answers_are_the_likeliest_classes(answers, count):
    logits = torch.randn(2, CLASSES, generator=torch.Generator().manual_seed(2))
    head = ClassificationHead(None, CLASSES, answers=answers)
    for detections, scores in zip(
        head.decode(head(logits, context_of((8, 8))), context_of([(8, 8)] * 2)), logits.softmax(dim=1), strict=True
    ):
        assert len(detections) == count
        assert detections.labels.tolist() == scores.argsort(descending=True)[:count].tolist()
        assert torch.equal(detections.scores, scores[detections.labels])


def test_losses_are_float32_under_autocast():
    head = ClassificationHead(None, CLASSES)
    with torch.autocast("cpu", torch.bfloat16):
        loss = head.losses(
            head(torch.randn(2, CLASSES).bfloat16(), context_of((8, 8))), context_of([(8, 8)] * 2, _targets([0, 1]))
        )["cls"]
    assert loss.dtype == torch.float32


@pytest.mark.parametrize("label", [-1, CLASSES])
def test_an_image_with_an_unknown_class_is_named(label):
    head = ClassificationHead(None, CLASSES)
    with pytest.raises(
        InputError, match=rf"targets\[1\], image id '1.jpg': image_label is {label}, not a class in 0..6"
    ):
        head.losses(head(torch.randn(2, CLASSES), context_of((8, 8))), context_of([(8, 8)] * 2, _targets([0, label])))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_an_image_without_a_class_teaches_nothing(smoothing):
    head = ClassificationHead(None, CLASSES, label_smoothing=smoothing)
    logits = torch.randn(3, CLASSES, generator=torch.Generator().manual_seed(4))
    some = head.losses(head(logits, context_of((8, 8))), context_of([(8, 8)] * 3, _targets([2, None, 5])))["cls"]
    labeled = head(logits[[0, 2]], context_of((8, 8)))
    torch.testing.assert_close(some, head.losses(labeled, context_of([(8, 8)] * 2, _targets([2, 5])))["cls"])


def test_without_any_class_the_loss_is_nothing_and_attached():
    head = ClassificationHead(4, CLASSES)
    three = context_of([(8, 8)] * 3, _targets([None] * 3))
    loss = head.losses(head(torch.randn(3, 4, 2, 2), three), three)["cls"]
    loss.backward()
    assert loss == 0
    assert all((parameter.grad == 0).all() for parameter in head.parameters())
