"""Checks in which the network runs: a random one, one step in the chosen precision, one batch overfit."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from detkit.evaluation import Evaluator
from detkit.models import VisionModel
from detkit.structures import Target
from detkit.trust.doctor.findings import Finding
from detkit.trust.doctor.round_trip.image_trips import FOUND
from detkit.trust.doctor.subject import Subject, truth_of
from detkit.trust.doctor.trials.precisions import losses_of

RANDOM_IMAGES, OVERFIT_IMAGES = 32, 4
LEARNED = 0.9  # the share of the truth that no random model finds
FALL = 0.5  # the loss of a batch that is learned falls below this share of the first
SLIGHT = 0.9


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
        with torch.inference_mode():
            on_device = [image.to(subject.device) for image in images]
            answers = model(on_device, given=targets) if model.asks_for else model(on_device)
        on_cpu = [answer.to("cpu") for answer in answers]
        for evaluator in evaluators.values():
            evaluator.update(targets, on_cpu)
        shares.append(found_entries(subject, targets, on_cpu))
    found = torch.cat(shares) if shares else torch.zeros(0)
    notes, parts, numbers = [], [], {}
    for name, evaluator in evaluators.items():
        score = float(evaluator.compute()[evaluator.headline])
        bound = evaluator.chance()
        numbers[name] = {"score": score, "bound": bound}
        parts.append(f"{name} {evaluator.headline} {score:.4f}{_expected(evaluator, bound)}")
        if _is_learned(evaluator, score, bound, found):
            notes.append(
                f"{name}: a model that has learned nothing scores {score:.3f}: the answers are visible to it, or its "
                "weights are trained already"
            )
    sentence = f"with initial weights, on {len(indices)} images: {', '.join(parts)}"
    return Finding("random", "failed" if notes else "passed", sentence, notes, numbers)


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
    """Losses and gradients of a step are finite in the chosen precision."""
    images, targets = overfit_batch(subject)
    model = copy.deepcopy(subject.model).to(subject.device).train()
    losses = losses_of(model, images, targets, subject.precision, subject.device)
    wrong = [name for name, loss in losses.items() if not bool(loss.isfinite())]
    sentence = f"in {subject.precision} on {subject.device.type}"
    if wrong:
        note = f"the losses {', '.join(wrong)} are not finite in the first step; {_advice(subject)}"
        return Finding("precision", "failed", f"losses are not finite {sentence}", [note])
    torch.stack(list(losses.values())).sum().backward()
    named = [(name, one.grad) for name, one in model.named_parameters() if one.grad is not None]
    wrong = [name for name, gradient in named if not bool(gradient.isfinite().all())]
    numbers = {name: float(loss.detach()) for name, loss in losses.items()}
    if wrong:
        note = (
            f"the gradients of {len(wrong)} parameters are not finite, first {', '.join(wrong[:3])}; {_advice(subject)}"
        )
        return Finding("precision", "failed", f"gradients are not finite {sentence}", [note], numbers)
    return Finding(
        "precision", "passed", f"{len(losses)} losses and {len(named)} gradients are finite {sentence}", [], numbers
    )


def _advice(subject: Subject) -> str:
    if subject.precision == "16-mixed":
        return "float16 ends at 65504: train in bf16-mixed, or in 32-true"
    return "look for boxes without area, and for values of images far from [0, 1] after normalization"


def check_overfit(subject: Subject) -> Finding:
    """One batch is learned by heart: its loss falls, and its objects come back."""
    images, targets = overfit_batch(subject)
    model = copy.deepcopy(subject.model).to(subject.device)
    optimizer = subject.make_optimizer(model)
    history, share = _overfit(subject, model, optimizer, images, targets)
    first, last = history[0], history[-1]
    numbers = {"losses": history, "recovered": share}
    sentence = f"{len(images)} images: the loss goes from {first:.3g} to {last:.3g} in {len(history)} steps"
    if not math.isfinite(last):
        note = "the loss is not finite: lower the learning rate, or give trainer.gradient_clip_val"
        return Finding("overfit", "failed", sentence, [note], numbers)
    if last > SLIGHT * first:
        note = "the loss does not fall: raise or lower the learning rate by a factor of 10, and look at frozen layers"
        return Finding("overfit", "failed", sentence, [note], numbers)
    if share is None:
        return Finding("overfit", "passed", sentence, [], numbers)
    sentence += f", {share:.0%} of their objects come back"
    if last > FALL * first or share < 0.5:
        note = "a batch is learned slowly: give more --steps, or another learning rate"
        return Finding("overfit", "warning", sentence, [note], numbers)
    return Finding("overfit", "passed", sentence, [], numbers)


def _overfit(
    subject: Subject,
    model: VisionModel,
    optimizer: torch.optim.Optimizer,
    images: Sequence[Tensor],
    targets: Sequence[Target],
) -> tuple[list[float], float | None]:
    """The loss of each step, and the share of the objects that come back at the end."""
    torch.manual_seed(subject.seed)
    model.train()
    scaler = torch.amp.GradScaler(subject.device.type, enabled=subject.precision == "16-mixed")
    history: list[float] = []
    share: float | None = None
    for step in range(subject.steps):
        losses = losses_of(model, images, targets, subject.precision, subject.device)
        loss = torch.stack(list(losses.values())).sum()
        history.append(float(loss.detach()))
        if not math.isfinite(history[-1]):
            return history, share
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        if subject.gradient_clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), subject.gradient_clip)
        scaler.step(optimizer)
        scaler.update()
        subject.progress(f"step {step + 1} of {subject.steps}, loss {history[-1]:.3g}")
        at_end = step + 1 == subject.steps
        if at_end or (step % 10 == 9 and history[-1] < FALL * history[0]):
            share = _recovered(subject, model, images, targets)
            if share is None or share >= 0.9:
                break
            model.train()
    return history, share


def _recovered(
    subject: Subject, model: VisionModel, images: Sequence[Tensor], targets: Sequence[Target]
) -> float | None:
    """The share of the objects of a batch that come back; None where there are none."""
    model.eval()
    with torch.inference_mode():
        on_device = [image.to(subject.device) for image in images]
        answers = model(on_device, given=targets) if model.asks_for else model(on_device)
    found = found_entries(subject, targets, [answer.to("cpu") for answer in answers])
    return float(found.mean()) if len(found) else None


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
    truths = {index: task.truth(target) for index in indices for target in [dataset.target(index)]}
    full = [
        index
        for index, truth in truths.items()
        if truth is not None and len(task.recovered(dataset.target(index), truth))
    ]
    chosen = (full or indices)[:most]
    samples = [subject.sample(dataset, index) for index in chosen]
    return [image for image, _ in samples], [target for _, target in samples]
