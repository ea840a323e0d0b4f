"""The check that a few images are overfit: learned by themselves, until their objects come back."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from detkit.backbones import Backbone
from detkit.data.faults.problem import counted
from detkit.structures import Target
from detkit.trust.doctor.findings import Finding
from detkit.trust.doctor.subject import Subject
from detkit.trust.doctor.trials.network_trials import found_entries, not_finite_because, overfit_batch
from detkit.trust.doctor.trials.trial import WARMUP, Trial

FALL = 0.5  # the loss of a batch that is learned falls below this share of the first
SLIGHT = 0.9
MOVED = 0.99  # in place of it, after so few steps that the learning rate has hardly risen
FEW_STEPS = 2 * WARMUP
ENOUGH = 0.9  # the share of objects that come back, at which the trial ends


def check_overfit(subject: Subject) -> Finding:
    """A model that learns a few images only: its loss falls, and their objects come back."""
    images, targets = overfit_batch(subject)
    trial = Trial(subject)
    before = {name: one.detach().clone() for name, one in trial.model.named_parameters()}
    history, share = _overfit(subject, trial, images, targets)
    first, last = history[0], history[-1]
    numbers = {"losses": history, "recovered": share}
    sentence = f"{counted(len(images), 'image')}: the loss goes from {first:.3g} to {last:.3g} in {len(history)} steps"
    if not math.isfinite(last):
        rates = "lower the learning rate (optimizer.init_args.lr), or set trainer.gradient_clip_val"
        because = rates if math.isfinite(first) else not_finite_because(subject)
        return Finding("overfit", "failed", sentence, [f"the loss is not finite: {because}"], numbers)
    unchanged = _unchanged(trial, before)
    if unchanged:
        note = f"nothing in {', '.join(unchanged)} has changed: its learning rate is 0, or its parameters are frozen"
        return Finding("overfit", "failed" if last > SLIGHT * first else "warning", sentence, [note], numbers)
    if last > (MOVED if len(history) <= FEW_STEPS else SLIGHT) * first:
        note = (
            "the loss does not fall: the learning rate (optimizer.init_args.lr) is too high or too low; try factors of "
            "10, and look for frozen layers"
        )
        return Finding("overfit", "failed", sentence, [note], numbers)
    if share is None:
        return Finding("overfit", "passed", sentence, [], numbers)
    called = "objects" if subject.task.answers_objects else "answers"
    sentence += f", {share:.0%} of their {called} come back"
    if share < 0.5 or (last > FALL * first and share < ENOUGH):
        note = "it learns slowly: give more --steps, or try another learning rate (optimizer.init_args.lr)"
        return Finding("overfit", "warning", sentence, [note], numbers)
    return Finding("overfit", "passed", sentence, [], numbers)


def _overfit(
    subject: Subject, trial: Trial, images: Sequence[Tensor], targets: Sequence[Target]
) -> tuple[list[float], float | None]:
    """The loss of each step, and the share of the objects that come back at the end."""
    torch.manual_seed(subject.seed)
    history: list[float] = []
    share: float | None = None
    for step in range(subject.steps):
        history.append(float(sum(trial.step(images, targets).values())))
        if not math.isfinite(history[-1]):
            return history, share
        subject.progress(f"step {step + 1} of {subject.steps}, loss {history[-1]:.3g}")
        at_end = step + 1 == subject.steps
        if at_end or (step % 10 == 9 and history[-1] < FALL * history[0]):
            found = found_entries(subject, targets, trial.answers(images, targets))
            share = float(found.mean()) if len(found) else None
            if share is None or share >= ENOUGH:
                break
    return history, share


def _unchanged(trial: Trial, before: dict[str, Tensor]) -> list[str]:
    """The parts of the model, backbones that are frozen aside, whose parameters are all as before."""
    after = dict(trial.model.named_parameters())
    parts = []
    for name, part in trial.model.named_children():
        own = [key for key in before if key.startswith(f"{name}.")]
        is_frozen = isinstance(part, Backbone) and not any(after[key].requires_grad for key in own)
        if own and not is_frozen and all(torch.equal(before[key], after[key]) for key in own):
            parts.append(name)
    return parts
