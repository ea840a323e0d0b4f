"""A copy of a model and its learner that takes training steps."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from detkit.learners import Phase, TrainingBatch
from detkit.structures import Target
from detkit.trust.doctor.subject import Subject

_TYPES = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
WARMUP = 10  # steps, in which the learning rate rises to its full value


class Trial:
    """Copies of the model and the learner of a recipe, trained by its optimizers in its precision.

    Args:
        subject: the recipe.
    """

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.model, self.learner = copy.deepcopy((subject.model, subject.learner))
        self.learner.setup(self.model)
        self.model.to(subject.device)
        self.learner.to(subject.device)
        self.phases: list[Phase] = self.learner.phases(self.model)
        self.optimizers = subject.make_optimizers(self.model, self.learner, self.phases)
        self.rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in self.optimizers]
        self.scaler = torch.amp.GradScaler(subject.device.type, enabled=subject.precision == "16-mixed")
        self.steps = 0
        self._sources: dict[int, dict[str, TrainingBatch]] = {}

    def step(self, images: Sequence[Tensor], targets: Sequence[Target], update: bool = True) -> dict[str, Tensor]:
        """Take a step; returns its losses by name. It ends where a loss is not finite.

        Args:
            images: uint8 ``(3, H, W)`` each.
            targets: of each image.
            update: whether to step the optimizers; if not, the gradients stay.
        """
        self.model.train()
        self.learner.train()
        batch = self._batch(images, targets)
        if update:
            self._warm_up()
        losses: dict[str, Tensor] = {}
        for phase, optimizer in zip(self.phases, self.optimizers, strict=True):
            with self._autocast():
                own = phase.losses(self.model, batch)
            total = torch.stack(list(own.values())).sum()
            losses |= {f"{phase.name}.{name}" if phase.name else name: one.detach() for name, one in own.items()}
            if not bool(total.isfinite()):
                break
            if not update:
                total.backward()
                continue
            optimizer.zero_grad()
            self.scaler.scale(total).backward()
            self.scaler.unscale_(optimizer)
            if self.subject.gradient_clip:
                parameters = [one for group in optimizer.param_groups for one in group["params"]]
                torch.nn.utils.clip_grad_norm_(parameters, self.subject.gradient_clip)
            self.scaler.step(optimizer)
            self.scaler.update()
        return losses

    def answers(self, images: Sequence[Tensor], targets: Sequence[Target]) -> list[Any]:
        """The predictions for some images, on the CPU, with batch norm by the statistics of these images.

        Its running statistics are of more steps than a trial has.
        """
        norms = [part for part in self.model.modules() if isinstance(part, _BatchNorm)]
        momenta = [norm.momentum for norm in norms]
        self.model.eval()
        for norm in norms:
            norm.train()
            norm.momentum = 0.0  # which leaves the running statistics as they are
        try:
            return predictions(self.subject, self.model, images, targets)
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum

    def _batch(self, images: Sequence[Tensor], targets: Sequence[Target]) -> TrainingBatch:
        on_device = [image.to(self.subject.device) for image in images]
        return TrainingBatch(on_device, list(targets), self._source_batches(len(images)))

    def _source_batches(self, count: int) -> dict[str, TrainingBatch]:
        """The batches of further sources, which are the same at each step of this size."""
        if count not in self._sources:
            self._sources[count] = self.subject.source_samples(count)
        return self._sources[count]

    def _warm_up(self) -> None:
        self.steps += 1
        share = min(1.0, self.steps / WARMUP)
        for optimizer, rates in zip(self.optimizers, self.rates, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * share

    def _autocast(self) -> AbstractContextManager[object]:
        dtype = _TYPES.get(self.subject.precision)
        return nullcontext() if dtype is None else torch.autocast(self.subject.device.type, dtype=dtype)


def predictions(subject: Subject, model: Any, images: Sequence[Tensor], targets: Sequence[Target]) -> list[Any]:
    """The predictions of a model on the device of the recipe, on the CPU.

    Args:
        subject: the recipe.
        model: in the mode that it is to predict in.
        images: uint8 ``(3, H, W)`` each.
        targets: of each image, of which the model gets what it asks for.
    """
    with torch.inference_mode():
        on_device = [image.to(subject.device) for image in images]
        given = model(on_device, given=targets) if model.asks_for else model(on_device)
    return [answer.to("cpu") for answer in given]
