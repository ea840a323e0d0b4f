"""The Lightning module that trains a model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch.utilities.types import OptimizerConfig, OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import Optimizer

from detkit.data import DataModule
from detkit.distributed import broadcast, gather
from detkit.engine.callbacks.finite import FiniteCheck
from detkit.engine.evaluation_module import Batch, EvaluationModule, LossMeans
from detkit.engine.loss_contract import LossContract
from detkit.engine.optim import (
    OptimizerFactory,
    Schedule,
    apply_lr_factors,
    check_lr_factors,
    check_same_groups,
    group_parameters,
    learning_rate,
    scale_learning_rates,
)
from detkit.engine.phases import check_learner_weights, named_parameters, parameters_of_phases, take_turns, with_phase
from detkit.engine.trainer.failures import in_one_sentence
from detkit.engine.trainer.gradient_clipping import clip_for_fused_step
from detkit.errors import InputError
from detkit.evaluation import Evaluator
from detkit.learners import Learner, Phase, PlainLearner, TrainingBatch
from detkit.models import VisionModel
from detkit.models.loss_weights import group_sums
from detkit.structures import Target

__all__ = ["Batch", "DetectionModule", "Evaluator", "FiniteCheck", "LossMeans", "broadcast", "gather"]

SourcesBatch = tuple[list[Tensor], list[Target], dict[str, tuple[list[Tensor], list[Target] | None]]]

Configured = OptimizerConfig | OptimizerLRSchedulerConfig


class DetectionModule(EvaluationModule):
    """A model with its optimizer, its learning rates and its evaluators.

    It logs ``train/loss`` with each of its terms and ``lr`` at every step, and at every validation ``val/AP`` and the
    other numbers of the evaluators, and ``val/loss`` with its terms if requested.

    Args:
        model: see `EvaluationModule`.
        optimizer: makes the optimizer from groups of parameters.
        schedule: the learning rate over the steps; None: constant.
        evaluators: see `EvaluationModule`.
        decay_norm_and_bias: whether weight decay applies to normalization layers and biases too.
        lr_batch_size: images per optimizer step that the learning rate is for; it is scaled in proportion to the actual
            number (Goyal 2017, section 2.1, "linear scaling rule"). None: it is not scaled.
        validation_loss: see `EvaluationModule`.
        record: describes the model in checkpoints, see `detkit.engine.checkpoint.model_record`.
        learner: what a training step learns; None: the losses of the model.
        lr_factors: factors of the learning rate by prefix of parameter names, such as ``{"backbone": 0.1}``; the
            longest matching prefix wins. Names of the learner's own parameters begin with ``learner``.

    Raises:
        InputError: nothing can be trained, or a factor matches no parameter.
    """

    def __init__(
        self,
        model: VisionModel,
        optimizer: OptimizerFactory,
        schedule: Schedule | None = None,
        evaluators: Mapping[str, Evaluator] | None = None,
        decay_norm_and_bias: bool = True,
        lr_batch_size: int | None = None,
        validation_loss: bool = False,
        record: Mapping[str, Any] | None = None,
        learner: Learner | None = None,
        lr_factors: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(model, evaluators, validation_loss)
        self.optimizer_factory = optimizer
        self.schedule = schedule
        self.decay_norm_and_bias = decay_norm_and_bias
        self.lr_batch_size = lr_batch_size
        self.record = record
        self.finite = FiniteCheck()
        self.contract = LossContract()
        self.learner = learner or PlainLearner()
        self.learner.setup(model)
        self.phases = self.learner.phases(model)
        self.automatic_optimization = len(self.phases) == 1
        self.lr_factors = dict(lr_factors or {})
        self.moved_steps = 0

    def configure_optimizers(self) -> Configured | list[Configured]:
        """An optimizer for each phase of the learner, and its schedule per optimizer step."""
        check_lr_factors(self.lr_factors, named_parameters(self.model, self.learner))
        made = [self._configured(phase, part) for phase, part in zip(self.phases, self._trained(), strict=True)]
        return made[0] if self.automatic_optimization else made

    def _configured(self, phase: Phase, named: Mapping[str, nn.Parameter]) -> Configured:
        factory = phase.optimizer or self.optimizer_factory
        with in_one_sentence("optimizer"):
            optimizer = factory(self._groups(named))
        apply_lr_factors(optimizer)
        if self.lr_batch_size is not None:
            scale_learning_rates(optimizer, self._images_per_step() / self.lr_batch_size)
        if self.schedule is None:
            return {"optimizer": optimizer}
        total_steps = self.trainer.estimated_stepping_batches
        if math.isinf(total_steps):
            raise InputError("A schedule needs the length of the run: give trainer.max_epochs or trainer.max_steps.")
        self.trainer.fit_loop.setup_data()  # which counts the batches
        steps_per_epoch = math.ceil(self.trainer.num_training_batches / self.trainer.accumulate_grad_batches)
        scheduler = self.schedule.attach(optimizer, int(total_steps), steps_per_epoch)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _trained(self) -> list[dict[str, nn.Parameter]]:
        return parameters_of_phases(self.phases, self.model, self.learner)

    def _groups(self, named: Mapping[str, nn.Parameter]) -> list[dict[str, Any]]:
        return group_parameters(named, self.decay_norm_and_bias, self.lr_factors)

    def _images_per_step(self) -> int:
        """Of all processes and accumulated batches."""
        trainer = self.trainer
        data: DataModule = vars(trainer)["datamodule"]  # Lightning's class does not declare it
        return data.batch_size * trainer.world_size * trainer.accumulate_grad_batches

    def on_train_start(self) -> None:
        """Store the length of the run."""
        self.total_steps = self.trainer.estimated_stepping_batches

    def training_step(self, batch: Batch | SourcesBatch, batch_idx: int) -> Tensor | None:
        """Return the summed loss of one batch; with several phases, step each of them."""
        step = TrainingBatch.of(batch, (self.global_step + self.moved_steps) / self.total_steps)
        if not self.automatic_optimization:
            losses = take_turns(self, self.phases, step)
            self._log_step(losses, torch.stack(list(losses.values())).sum(), len(step.images))
            return None
        losses = self.losses(self.phases[0], step)
        loss = torch.stack(list(losses.values())).sum()
        self._log_step(losses, loss, len(step.images))
        return loss

    def losses(self, phase: Phase, batch: TrainingBatch) -> dict[str, Tensor]:
        """The losses of a phase by the names that are logged; one that is not finite stops the run."""
        losses = with_phase(phase, phase.losses(self.model, batch))
        self.contract.check(phase.name or type(self.model).__name__, losses)
        self.finite.watch(losses, batch.image_ids, self.global_step)
        return losses

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip gradients, those of fused optimizers in mixed precision too."""
        limit, algorithm = gradient_clip_val or 0.0, gradient_clip_algorithm or "norm"
        if not clip_for_fused_step(self.trainer, optimizer, limit, algorithm):
            super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def _log_step(self, losses: Mapping[str, Tensor], loss: Tensor, images: int) -> None:
        detached = {name: value.detach() for name, value in losses.items()}
        logged = {f"train/{name}": value for name, value in (detached | group_sums(detached)).items()}
        self.log_dict(logged, batch_size=images)
        self.log("train/loss", loss.detach(), batch_size=images)
        # Lightning would copy a number to the GPU, for which it waits.
        rate = torch.tensor(learning_rate(self.trainer.optimizers[0]))
        self.log("lr", rate, batch_size=images)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to resume with another learner, or with other groups of parameters."""
        check_learner_weights(self.learner, checkpoint["state_dict"])
        for named, saved in zip(self._trained(), checkpoint["optimizer_states"], strict=True):
            check_same_groups(self._groups(named), saved["param_groups"])

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the model's record; refuse to save weights that a non-finite loss has changed."""
        self.finite.settle()
        if self.record is not None:
            checkpoint["detkit"] = dict(self.record)
