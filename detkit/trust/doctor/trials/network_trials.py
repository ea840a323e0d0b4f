"""Checks in which the network runs: a random one, one step in the chosen precision, one batch overfit."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from detkit.evaluation.detection_collector import DetectionCollector
from detkit.models import VisionModel
from detkit.structures import Target
from detkit.trust.doctor.findings import Finding
from detkit.trust.doctor.round_trip.image_trips import FOUND
from detkit.trust.doctor.subject import Subject, truth_of
from detkit.trust.doctor.trials.precisions import losses_of

RANDOM_IMAGES, OVERFIT_IMAGES = 32, 4
RANDOM_AP = 0.05  # a random detector has less
FALL = 0.5  # the loss of a batch that is learned falls below this share of the first
SLIGHT = 0.9


def check_random(subject: Subject) -> Finding:
    """The model with its initial weights scores about 0, or what guessing the commonest class gives."""
    dataset = subject.data.eval_dataset
    indices = subject.some(dataset, min(RANDOM_IMAGES, subject.images))
    evaluators = subject.make_evaluators(truth_of(dataset, indices))
    model = subject.model.to(subject.device).eval()
    labels: list[int] = []
    for start in range(0, len(indices), 4):
        subject.progress(f"{start} of {len(indices)} images")
        images, targets = zip(*(subject.sample(dataset, index) for index in indices[start : start + 4]), strict=True)
        with torch.inference_mode():
            on_device = [image.to(subject.device) for image in images]
            answers = model(on_device, given=targets) if model.asks_for else model(on_device)
        for evaluator in evaluators.values():
            evaluator.update(targets, [answer.to("cpu") for answer in answers])
        truths = [subject.task.truth(target) for target in targets]
        labels += [label for truth in truths if truth is not None for label in truth.labels.tolist()]
    notes, parts, numbers = [], [], {}
    for name, evaluator in evaluators.items():
        score = float(evaluator.compute()[evaluator.headline])
        bound = RANDOM_AP if isinstance(evaluator, DetectionCollector) else _guessing(labels)
        numbers[name] = {"score": score, "bound": bound}
        parts.append(f"{name} {evaluator.headline} {max(score, 0):.4f} (expected below {bound:.2f})")
        if score > bound:
            notes.append(
                f"{name}: a model that has learned nothing scores {score:.3f}: the answers are visible to it, or its "
                "weights are trained already"
            )
    sentence = f"with initial weights, on {len(indices)} images: {', '.join(parts)}"
    return Finding("random", "failed" if notes else "passed", sentence, notes, numbers)


def _guessing(labels: Sequence[int]) -> float:
    """The share of the commonest label, plus three standard deviations of such a share."""
    share = max(labels.count(one) for one in set(labels)) / len(labels) if labels else 0.0
    return min(1.0, share + 3 * math.sqrt(max(share * (1 - share), 0.01) / max(len(labels), 1)))


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
    overlaps = [
        subject.task.recovered(target, answer.to("cpu")).overlaps
        for target, answer in zip(targets, answers, strict=True)
        if subject.task.truth(target) is not None
    ]
    together = torch.cat(overlaps) if overlaps else torch.zeros(0)
    return float((together >= FOUND).float().mean()) if len(together) else None


def overfit_batch(subject: Subject) -> tuple[list[Tensor], list[Target]]:
    """A few training images with objects, without augmentation."""
    dataset = subject.data.train_dataset
    images, targets = [], []
    most = min(OVERFIT_IMAGES, subject.data.batch_size)
    for index in subject.some(dataset, 16 * most):
        truth = subject.task.truth(dataset.target(index))
        if truth is not None and len(truth):
            image, target = subject.sample(dataset, index)
            images.append(image)
            targets.append(target)
        if len(images) == most:
            break
    return images, targets
