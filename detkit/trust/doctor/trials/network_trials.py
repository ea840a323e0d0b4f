"""Checks in which the network runs: an untrained one, and one step in the chosen precision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from detkit.backbones import Backbone
from detkit.evaluation import Evaluator
from detkit.evaluation.ground_truth import NOTHING_TO_MEASURE
from detkit.necks import Neck
from detkit.structures import Target
from detkit.trust.doctor.findings import Finding, Verdict
from detkit.trust.doctor.round_trip.image_trips import FOUND
from detkit.trust.doctor.subject import Subject, truth_of
from detkit.trust.doctor.trials.trial import Trial, predictions

RANDOM_IMAGES, OVERFIT_IMAGES = 32, 4
LEARNED = 0.9  # the share of the truth that no untrained model finds
USELESS = 0.01  # a headline of trained weights that are of no use


def check_random(subject: Subject) -> Finding:
    """The model with its initial weights scores about 0, or what guessing the commonest class gives."""
    dataset = subject.data.eval_dataset
    indices = subject.some(dataset, min(RANDOM_IMAGES, subject.images))
    evaluators = subject.make_evaluators(truth_of(dataset, indices))
    model = subject.model.to(subject.device).eval()
    shares: list[Tensor] = []
    for start in range(0, len(indices), 4):
        subject.progress(f"{start} of {len(indices)} images")
        images, targets = zip(*(subject.sample(dataset, index) for index in indices[start : start + 4]), strict=True)
        answers = predictions(subject, model, images, targets)
        for evaluator in evaluators.values():
            evaluator.update(targets, answers)
        shares.append(found_entries(subject, targets, answers))
    scores = {name: float(one.compute()[one.headline]) for name, one in evaluators.items()}
    if subject.started is not None:
        return _trained(subject, evaluators, scores, len(indices))
    return _untrained(evaluators, scores, torch.cat([torch.zeros(0), *shares]), len(indices))


def _untrained(evaluators: Mapping[str, Evaluator], scores: Mapping[str, float], found: Tensor, images: int) -> Finding:
    notes, parts, numbers = [], [], {}
    for name, score in scores.items():
        evaluator = evaluators[name]
        bound = evaluator.chance()
        numbers[name] = {"score": score, "bound": bound}
        parts.append(f"{name} {evaluator.headline} {_shown(score)}{_expected(evaluator, bound)}")
        if score != NOTHING_TO_MEASURE and _is_learned(evaluator, score, bound, found):
            notes.append(
                f"{name}: a model that has learned nothing scores {score:.3f}: it sees the ground truth, or its "
                "weights are trained already"
            )
    verdict: Verdict = "failed" if notes else "passed"
    if all(score == NOTHING_TO_MEASURE for score in scores.values()):
        verdict = "skipped"
    return Finding("random", verdict, f"with random weights, on {images} images: {', '.join(parts)}", notes, numbers)


def _trained(
    subject: Subject, evaluators: Mapping[str, Evaluator], scores: Mapping[str, float], images: int
) -> Finding:
    assert subject.started is not None
    parts = [f"{name} {evaluators[name].headline} {_shown(score)}" for name, score in scores.items()]
    sentence = f"with the weights of {subject.started.source}, on {images} images: {', '.join(parts)}"
    numbers = {name: {"score": score, "bound": None} for name, score in scores.items()}
    useless = [name for name, score in scores.items() if evaluators[name].higher_is_better and 0 <= score < USELESS]
    if useless and subject.started.is_complete:
        note = (
            "these weights are for all classes of the data, but find nothing: compare the names of the classes, "
            "model.preprocess, and the boxes of the data with those that they were trained on"
        )
        return Finding("random", "warning", sentence, [note], numbers)
    return Finding("random", "passed", sentence, [], numbers)


def _shown(score: float) -> str:
    return "has nothing to measure" if score == NOTHING_TO_MEASURE else f"{score:.4f}"


def _expected(evaluator: Evaluator, bound: float | None) -> str:
    if bound is None:
        return ""
    return f" (expected {'below' if evaluator.higher_is_better else 'above'} {bound:.2f})"


def _is_learned(evaluator: Evaluator, score: float, bound: float | None, found: Tensor) -> bool:
    """Whether a score is better than chance; where chance is unknown, whether nearly everything is found."""
    if bound is None:
        return len(found) > 0 and float(found.mean()) > LEARNED
    return score > bound if evaluator.higher_is_better else score < bound


def check_precision(subject: Subject) -> Finding:
    """Losses and gradients of a step are finite in the chosen precision, and each part gets a gradient."""
    images, targets = overfit_batch(subject)
    trial = Trial(subject)
    losses = trial.step(images, targets, update=False)
    sentence = f"in {subject.precision} on {subject.device.type}"
    numbers = {name: float(loss) for name, loss in losses.items()}
    if wrong := [name for name, loss in losses.items() if not bool(loss.isfinite())]:
        note = f"not finite in the first step: {', '.join(wrong)}; {not_finite_because(subject)}"
        return Finding("precision", "failed", f"losses are not finite {sentence}", [note], numbers)
    modules = {"model": trial.model, "learner": trial.learner}
    named = {
        (name if owner == "model" else f"{owner}.{name}"): one.grad
        for owner, module in modules.items()
        for name, one in module.named_parameters()
        if one.grad is not None
    }
    if wrong := [name for name, gradient in named.items() if not bool(gradient.isfinite().all())]:
        note = (
            f"the gradients of {len(wrong)} parameters are not finite, first {', '.join(wrong[:3])}; "
            f"{not_finite_because(subject)}"
        )
        return Finding("precision", "failed", f"gradients are not finite {sentence}", [note], numbers)
    notes = _untaught(trial.model)
    sentence = f"{len(losses)} losses and {len(named)} gradients are finite {sentence}"
    return Finding("precision", "warning" if notes else "passed", sentence, notes, numbers)


def _untaught(model: nn.Module) -> list[str]:
    """A sentence for each part of a model, backbones and necks aside, that is frozen or gets no gradient."""
    notes = []
    for name, part in model.named_children():
        parameters = list(part.parameters())
        trained = [one for one in parameters if one.requires_grad]
        if not parameters or isinstance(part, (Backbone, Neck)):
            continue
        if not trained:
            notes.append(f"{name} is frozen: none of its {len(parameters)} parameters is trained")
        elif not any(one.grad is not None and bool(one.grad.any()) for one in trained):
            notes.append(f"{name} gets no gradient: none of the losses depends on it for these images")
    return notes


def not_finite_because(subject: Subject) -> str:
    """What makes losses infinite that have trained nothing yet."""
    if subject.precision == "16-mixed":
        return "float16 cannot hold numbers above 65504: train in bf16-mixed or 32-true"
    return "look for boxes without an area, wrong model.preprocess.mean or std, and losses of your own that divide by 0"


def found_entries(subject: Subject, targets: Sequence[Target], answers: Sequence[Any]) -> Tensor:
    """1 for each entry of the truth of some images that comes back in their answers, else 0."""
    overlaps = [
        subject.task.recovered(target, answer).overlaps
        for target, answer in zip(targets, answers, strict=True)
        if subject.task.truth(target) is not None
    ]
    return (torch.cat([torch.zeros(0), *overlaps]) >= FOUND).float()


def overfit_batch(subject: Subject) -> tuple[list[Tensor], list[Target]]:
    """A few training images, without augmentation: those with objects, as far as there are any."""
    dataset, task = subject.data.train_dataset, subject.task
    most = min(OVERFIT_IMAGES, subject.data.batch_size)
    indices = subject.some(dataset, 16 * most)
    full = []
    for index in indices:  # no more than are needed, since masks take time
        target = dataset.target(index)
        truth = task.truth(target)
        if truth is not None and len(task.recovered(target, truth)):
            full.append(index)
        if len(full) == most:
            break
    samples = [subject.sample(dataset, index) for index in (full or indices[:most])]
    return [image for image, _ in samples], [target for _, target in samples]
