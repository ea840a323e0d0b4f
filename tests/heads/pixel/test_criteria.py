"""Losses of pixels against loops in float64, pixel by pixel, on fixed and fresh seeds."""

import math
import random

import pytest
import torch

from detkit.errors import InputError
from detkit.heads.pixel.criteria import OHEM, BoundaryCrossEntropy, CrossEntropy, Dice, Focal, LovaszSoftmax, Tversky
from detkit.heads.pixel.criteria.boundary import near_other_classes

CLASSES = 4
CLASS_WEIGHTS = [0.5, 2.0, 1.0, 3.0]
SEEDS = [0, pytest.param(random.SystemRandom().randrange(2**31), id="fresh")]  # one id in all processes


def make_case(seed, size=(2, 5, 7), with_weights=False, classes=CLASSES):
    """Logits in float64, labels in which class 2 is absent and some pixels have no class, weights of pixels."""
    generator = torch.Generator().manual_seed(seed)
    images, height, width = size
    logits = 2 * torch.randn(images, classes, height, width, generator=generator, dtype=torch.float64)
    labels = torch.randint(-1, classes, size, generator=generator)
    labels[labels == 2] = 1
    weights = torch.rand(size, generator=generator, dtype=torch.float64) * 3 if with_weights else None
    return logits, labels, weights


def every(labels):
    images, height, width = labels.shape
    return [(b, y, x) for b in range(images) for y in range(height) for x in range(width) if labels[b, y, x] >= 0]


def by_hand(logits, labels, weights):
    """The softmax of each pixel with a class, its class and its weight."""
    result = []
    for image, y, x in every(labels):
        values = [math.exp(float(one)) for one in logits[image, :, y, x]]
        factor = 1.0 if weights is None else float(weights[image, y, x])
        result.append(([value / sum(values) for value in values], int(labels[image, y, x]), factor))
    return result


def cross_entropy(case, class_weights=(1.0,) * CLASSES):
    pixels = by_hand(*case)
    total = sum(-math.log(p[c]) * w * class_weights[c] for p, c, w in pixels)
    return total / sum(class_weights[c] for _, c, _ in pixels)


def summed(case, class_weights=(1.0,) * CLASSES):
    """As Caffe has it without normalization: over the pixels of an image, the mean over images."""
    return sum(-math.log(p[c]) * w * class_weights[c] for p, c, w in by_hand(*case)) / len(case[1])


def focal(case, gamma, class_weights=(1.0,) * CLASSES):
    pixels = by_hand(*case)
    total = sum(-math.log(p[c]) * (1 - p[c]) ** gamma * w * class_weights[c] for p, c, w in pixels)
    return total / sum(class_weights[c] for _, c, _ in pixels)


def ohem(case, threshold, least, class_weights=(1.0,) * CLASSES):
    pixels = sorted(by_hand(*case), key=lambda one: one[0][one[1]])
    hard = [one for rank, one in enumerate(pixels) if rank < least or one[0][one[1]] < threshold]
    total = sum(-math.log(p[c]) * w * class_weights[c] for p, c, w in hard)
    return total / sum(class_weights[c] for _, c, _ in hard)


def tversky(case, alpha, beta, smooth):
    pixels, losses = by_hand(*case), []
    for label in sorted({c for _, c, _ in pixels}):
        hits = sum(w * p[label] for p, c, w in pixels if c == label)
        false_positives = sum(w * p[label] for p, c, w in pixels if c != label)
        misses = sum(w * (1 - p[label]) for p, c, w in pixels if c == label)
        losses.append(1 - (hits + smooth) / (hits + alpha * false_positives + beta * misses + smooth))
    return sum(losses) / len(losses)


def lovasz(case):
    """The extension by its definition: sorted errors times the increments of the Jaccard loss of sets of errors."""
    pixels, losses = by_hand(*case), []
    for label in sorted({c for _, c, _ in pixels}):
        errors = [(1 - p[label] if c == label else p[label], c == label, w) for p, c, w in pixels]
        errors.sort(key=lambda one: -one[0])
        own, loss, before = sum(is_own for _, is_own, _ in errors), 0.0, 0.0
        for count, (error, _, weight) in enumerate(errors, 1):
            wrong = errors[:count]
            missed = sum(is_own for _, is_own, _ in wrong)
            jaccard_loss = 1 - (own - missed) / (own + len(wrong) - missed)
            loss += weight * error * (jaccard_loss - before)
            before = jaccard_loss
        losses.append(loss)
    return sum(losses) / len(losses)


def near_a_boundary(labels, radius):
    near = torch.zeros_like(labels, dtype=torch.bool)
    for image, y, x in every(labels):
        window = labels[image, max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1]
        near[image, y, x] = any(int(one) not in (-1, int(labels[image, y, x])) for one in window.flatten())
    return near


def boundary(case, factor, radius):
    near = near_a_boundary(case[1], radius)
    factors = [factor if near[index] else 1.0 for index in every(case[1])]
    total = sum(-math.log(p[c]) * w * f for (p, c, w), f in zip(by_hand(*case), factors, strict=True))
    return total / sum(factors)


CASES = {
    "cross_entropy": (CrossEntropy(), cross_entropy),
    "weighted": (CrossEntropy(CLASS_WEIGHTS), lambda case: cross_entropy(case, CLASS_WEIGHTS)),
    "unnormalized": (CrossEntropy(normalized=False), summed),
    "unnormalized_weighted": (CrossEntropy(CLASS_WEIGHTS, False), lambda case: summed(case, CLASS_WEIGHTS)),
    "focal": (Focal(2.0), lambda case: focal(case, 2.0)),
    "focal_weighted": (Focal(0.5, CLASS_WEIGHTS), lambda case: focal(case, 0.5, CLASS_WEIGHTS)),
    "ohem": (OHEM(0.3, 1), lambda case: ohem(case, 0.3, 2)),
    "ohem_least": (OHEM(0.01, 12), lambda case: ohem(case, 0.01, 24)),
    "ohem_all": (OHEM(0.7), lambda case: ohem(case, 0.7, 100_000)),
    "ohem_weighted": (OHEM(0.4, 3, CLASS_WEIGHTS), lambda case: ohem(case, 0.4, 6, CLASS_WEIGHTS)),
    "dice": (Dice(), lambda case: tversky(case, 0.5, 0.5, 0.5)),
    "tversky": (Tversky(0.2, 0.9, 0.1), lambda case: tversky(case, 0.2, 0.9, 0.1)),
    "lovasz": (LovaszSoftmax(), lovasz),
    "boundary": (BoundaryCrossEntropy(4.0, 1), lambda case: boundary(case, 4.0, 1)),
}
EVERY = pytest.mark.parametrize("name", CASES)


@EVERY
@pytest.mark.parametrize("with_weights", [False, True], ids=["", "pixel_weights"])
@pytest.mark.parametrize("seed", SEEDS)
def test_equals_its_definition(name, with_weights, seed):
    criterion, expected = CASES[name]
    case = make_case(seed, with_weights=with_weights)
    assert float(criterion(*case)) == pytest.approx(expected(case), rel=1e-9)
    logits, labels, weights = case
    single = criterion(logits.float(), labels, None if weights is None else weights.float())
    assert single.dtype == torch.float32
    assert float(single.detach()) == pytest.approx(expected(case), rel=1e-5)


@EVERY
@pytest.mark.parametrize("seed", SEEDS)
def test_gradients_are_those_of_finite_differences(name, seed):
    logits, labels, weights = make_case(seed, size=(2, 3, 4), with_weights=True)
    criterion = CASES[name][0]
    assert torch.autograd.gradcheck(lambda one: criterion(one, labels, weights), logits.requires_grad_(), eps=1e-7)


@EVERY
def test_pixels_without_a_class_change_nothing(name):
    logits, labels, _ = make_case(3)
    criterion = CASES[name][0]
    first = criterion(logits.requires_grad_(), labels)
    (gradient,) = torch.autograd.grad(first, logits)
    ignored = (labels < 0)[:, None].expand_as(logits)
    assert not gradient[ignored].any()
    changed = torch.where(ignored, 50 * torch.randn_like(logits), logits)
    assert torch.equal(first, criterion(changed, labels))


@EVERY
def test_without_any_class_the_loss_is_zero_and_attached(name):
    logits, labels, _ = make_case(4)
    loss = CASES[name][0](logits.requires_grad_(), torch.full_like(labels, -1))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss == 0
    assert not gradient.any()


@EVERY
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_is_computed_in_float32_under_autocast(name, dtype):
    logits, labels, _ = make_case(5, size=(1, 40, 50))
    half = logits.to(dtype)
    with torch.autocast("cpu", dtype):
        loss = CASES[name][0](half.requires_grad_(), labels)
    assert loss.dtype == torch.float32
    assert float(loss.detach()) == pytest.approx(float(CASES[name][0](half.detach().double(), labels)), rel=1e-5)
    (gradient,) = torch.autograd.grad(loss, half)
    assert gradient.isfinite().all()


@EVERY
def test_logits_that_are_sure_give_finite_losses_and_gradients(name):
    logits, labels, _ = make_case(6)
    sure = (logits.float() * 200).requires_grad_()
    loss = CASES[name][0](sure, labels)
    assert loss.isfinite()
    assert torch.autograd.grad(loss, sure)[0].isfinite().all()


@pytest.mark.parametrize("criterion", [CrossEntropy, Focal, OHEM, BoundaryCrossEntropy])
@pytest.mark.parametrize("count", [CLASSES - 1, CLASSES + 1])
def test_class_weights_of_other_classes_are_refused(criterion, count):
    logits, labels, _ = make_case(0)
    with pytest.raises(InputError, match=f"class_weights has {count} factors, but there are logits of {CLASSES}"):
        criterion(class_weights=[1.0] * count)(logits, labels)


@pytest.mark.parametrize("criterion", [CrossEntropy, Focal, OHEM, BoundaryCrossEntropy])
@pytest.mark.parametrize("scale", [1e-9, 1e6])
def test_the_scale_of_class_weights_changes_nothing(criterion, scale):
    """As of torch's `cross_entropy`: one over the pixels of a data set is far below 1."""
    logits, labels, _ = make_case(9)
    scaled = criterion(class_weights=[scale * one for one in CLASS_WEIGHTS])(logits, labels)
    assert float(scaled) == pytest.approx(float(criterion(class_weights=CLASS_WEIGHTS)(logits, labels)), rel=1e-5)
    if criterion is CrossEntropy:
        weights = scale * torch.tensor(CLASS_WEIGHTS, dtype=torch.float64)
        theirs = torch.nn.functional.cross_entropy(logits, labels, weights, ignore_index=-1)
        assert float(scaled) == pytest.approx(float(theirs), rel=1e-5)


class TestOHEM:
    def test_takes_the_hardest_of_many_pixels(self):
        criterion = OHEM(0.0, 1000)
        logits, labels, _ = make_case(7, size=(2, 64, 64))
        probabilities = logits.softmax(1).gather(1, labels.clamp(min=0)[:, None])[:, 0]
        hard = criterion.hard_pixels(probabilities, labels)
        assert int(hard.sum()) == 2000
        assert probabilities[hard].max() <= probabilities[~hard & (labels >= 0)].min()

    @pytest.mark.parametrize("arguments", [{"threshold": 1.5}, {"threshold": -0.1}, {"min_kept": 0}])
    def test_refuses_what_makes_no_sense(self, arguments):
        with pytest.raises(InputError, match="OHEM needs a threshold"):
            OHEM(**arguments)


class TestLovasz:
    def test_of_certain_answers_is_one_minus_the_mean_iou_of_present_classes(self):
        labels = torch.tensor([[[0, 0, 0, 1, 1, -1]]])
        answers = torch.tensor([[0, 0, 1, 1, 3, 0]])
        logits = 1e4 * torch.nn.functional.one_hot(answers, CLASSES).movedim(-1, 1)[:, :, None].double()
        assert float(LovaszSoftmax()(logits, labels)) == pytest.approx(1 - (2 / 3 + 1 / 3) / 2)

    def test_is_exact_for_many_pixels(self):
        """In float32 differences of almost equal Jaccard indices would have no digits left."""
        logits, labels, _ = make_case(8, size=(1, 600, 500))
        single, double = (LovaszSoftmax()(one.requires_grad_(), labels) for one in (logits.float(), logits))
        assert float(single.detach()) == pytest.approx(float(double.detach()), rel=1e-5)


class TestBoundary:
    @pytest.mark.parametrize("radius", [1, 2, 5])
    @pytest.mark.parametrize("seed", SEEDS)
    def test_is_near_where_another_class_is_in_the_square(self, radius, seed):
        generator = torch.Generator().manual_seed(seed)
        cells = torch.randint(-1, CLASSES, (2, 3, 4), generator=generator)
        labels = cells.repeat_interleave(5, 1).repeat_interleave(4, 2)
        assert torch.equal(near_other_classes(labels, radius), near_a_boundary(labels, radius))

    def test_needs_a_radius(self):
        with pytest.raises(InputError, match="radius"):
            BoundaryCrossEntropy(radius=0)
