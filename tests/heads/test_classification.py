"""The class of the whole image: losses against their definition."""

import pytest
import torch

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
    loss = head.losses(head(logits), _targets(labels), [(8, 8)] * 5)["cls"]
    wanted = torch.full((5, CLASSES), smoothing / CLASSES, dtype=torch.float64)
    wanted[range(5), labels] += 1 - smoothing
    expected = -(wanted * logits.double().log_softmax(dim=1)).sum(dim=1).mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)


def test_auxiliary_classifiers_count_three_tenths():
    generator = torch.Generator().manual_seed(1)
    outputs = tuple(torch.randn(3, CLASSES, generator=generator) for _ in range(3))
    head, targets, sizes = ClassificationHead(None, CLASSES), _targets([1, 2, 3]), [(8, 8)] * 3
    main, first, second = (head.losses(head(one), targets, sizes)["cls"] for one in outputs)
    total = head.losses(head(outputs), targets, sizes)["cls"]
    torch.testing.assert_close(total, main + 0.3 * (first + second))


def test_the_linear_layer_stands_on_the_mean():
    torch.manual_seed(0)
    head = ClassificationHead(4, CLASSES)
    features = torch.randn(2, 4, 5, 3)
    expected = features.flatten(2).mean(dim=2) @ head.classes.weight.T + head.classes.bias
    torch.testing.assert_close(head(features).logits, expected)


@pytest.mark.parametrize(("answers", "count"), [(1, 1), (5, 5), (50, CLASSES)])
def test_answers_are_the_likeliest_classes(answers, count):
    logits = torch.randn(2, CLASSES, generator=torch.Generator().manual_seed(2))
    head = ClassificationHead(None, CLASSES, answers=answers)
    for found, scores in zip(head.decode(head(logits), [(8, 8)] * 2), logits.softmax(dim=1), strict=True):
        assert len(found) == count
        assert found.labels.tolist() == scores.argsort(descending=True)[:count].tolist()
        assert torch.equal(found.scores, scores[found.labels])


def test_losses_are_float32_under_autocast():
    head = ClassificationHead(None, CLASSES)
    with torch.autocast("cpu", torch.bfloat16):
        loss = head.losses(head(torch.randn(2, CLASSES).bfloat16()), _targets([0, 1]), [(8, 8)] * 2)["cls"]
    assert loss.dtype == torch.float32


@pytest.mark.parametrize("label", [None, -1, CLASSES])
def test_an_image_without_a_class_is_named(label):
    head = ClassificationHead(None, CLASSES)
    with pytest.raises(InputError, match=r"targets\[1\], image id '1.jpg': image_label is .*data.image_class"):
        head.losses(head(torch.randn(2, CLASSES)), _targets([0, label]), [(8, 8)] * 2)
