"""The detector in training: what Lightning calls at each step and at each validation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from detkit.distributed import broadcast, gather
from detkit.engine.callbacks.finite import FiniteCheck
from detkit.engine.loss_contract import LossContract
from detkit.engine.optim import (
    OptimizerFactory,
    Schedule,
    apply_lr_factors,
    check_lr_factors,
    check_same_groups,
    grouped,
    learning_rate,
    scale_learning_rates,
)
from detkit.engine.phases import check_learner_weights, named_parameters, parameters_of_phases, take_turns, with_phase
from detkit.errors import InputError
from detkit.evaluation import Evaluator
from detkit.learners import Learner, Phase, PlainLearner, TrainingBatch
from detkit.models import VisionModel
from detkit.models.detector import Answer
from detkit.models.loss_weights import group_sums
from detkit.structures import Target
from detkit.tasks import task_of

__all__ = ["Batch", "DetectionModule", "Evaluator", "FiniteCheck", "LossMeans", "broadcast", "gather"]

Batch = tuple[list[Tensor], list[Target]]
SourcesBatch = tuple[list[Tensor], list[Target], dict[str, tuple[list[Tensor], list[Target] | None]]]


class DetectionModule(LightningModule):
    """A detector with its optimizer, its learning rates and its evaluation.

    Logged are ``train/loss`` with each of its terms and ``lr`` at every step, ``val/AP`` and the evaluator's other
    numbers at every validation, and ``val/loss`` with its terms if asked for.

    Args:
        model: the detector; ``model(images, targets)`` are its losses, ``model(images)`` its detections.
        optimizer: makes the optimizer from the groups of parameters.
        schedule: the learning rate over the steps; constant if not given.
        evaluators: judge the answers of a validation, by their names; their numbers are logged as `Evaluator.log_name`
            says: ``val/AP`` … of boxes, ``val/segm/AP``, ``val/classification/top1`` … of others.
        decay_norm_and_bias: whether weight decay holds for normalization layers and biases too.
        lr_batch_size: how many images per optimizer step the optimizer's learning rate is for: with more or fewer it
            changes in proportion (Goyal 2017, section 2.1, "linear scaling rule"); None: it does not.
        validation_loss: whether to compute the losses on the validation images as well.
        record: what checkpoints say about the model, see `detkit.engine.checkpoint.model_record`.
        learner: what a training step learns; None: the losses of the model.
        lr_factors: of the learning rate by the beginning of parameters' names, such as ``{"backbone": 0.1}``; the
            longest one that holds wins. Those of the learner's own parameters begin with ``learner``.

    Raises:
        InputError: nothing can be trained, or a factor is of no parameter.
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
        super().__init__()
        self.model = model
        self.optimizer_factory = optimizer
        self.schedule = schedule
        self.evaluators = dict(evaluators or {})
        self.decay_norm_and_bias = decay_norm_and_bias
        self.lr_batch_size = lr_batch_size
        self.validation_loss = validation_loss
        self.record = record
        self.finite = FiniteCheck()
        self.contract = LossContract()
        self.learner = learner or PlainLearner()
        self.learner.setup(model)
        self.phases = self.learner.phases(model)
        self.automatic_optimization = len(self.phases) == 1
        self.lr_factors = dict(lr_factors or {})

    def configure_optimizers(self) -> list[dict[str, Any]] | dict[str, Any]:
        """An optimizer for each phase of the learner, and its schedule per optimizer step."""
        check_lr_factors(self.lr_factors, named_parameters(self.model, self.learner))
        made = [self._configured(phase, part) for phase, part in zip(self.phases, self._trained(), strict=True)]
        return made[0] if self.automatic_optimization else made

    def _configured(self, phase: Phase, named: Mapping[str, nn.Parameter]) -> dict[str, Any]:
        factory = phase.optimizer or self.optimizer_factory
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

    def _groups(self, named: Mapping[str, nn.Parameter]) -> list[dict]:
        return grouped(named, self.decay_norm_and_bias, self.lr_factors)

    def _images_per_step(self) -> int:
        """Of all processes and accumulated batches together."""
        trainer = self.trainer
        return trainer.datamodule.batch_size * trainer.world_size * trainer.accumulate_grad_batches

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Move the images alone: on the CPU the model checks targets without waiting for the GPU, then moves them."""
        images, targets, *sources = batch
        moved = [image.to(device, non_blocking=True) for image in images]
        if not sources:
            return moved, targets
        parts = {
            name: ([image.to(device, non_blocking=True) for image in of_source], *others)
            for name, (of_source, *others) in sources[0].items()
        }
        return moved, targets, parts

    def on_train_start(self) -> None:
        """Learn the length of the run."""
        self.total_steps = self.trainer.estimated_stepping_batches

    def training_step(self, batch: Batch | SourcesBatch, batch_idx: int) -> Tensor | None:
        """The sum of the losses of one batch; with several phases, each of their steps."""
        step = TrainingBatch.of(batch, self.global_step / self.total_steps)
        if not self.automatic_optimization:
            losses = take_turns(self, self.phases, step)
            self._log_step(losses, torch.stack(list(losses.values())).sum(), len(step.images))
            return None
        losses = self.losses(self.phases[0], step)
        loss = torch.stack(list(losses.values())).sum()
        self._log_step(losses, loss, len(step.images))
        return loss

    def losses(self, phase: Phase, batch: TrainingBatch) -> dict[str, Tensor]:
        """The losses of a phase by the names that are logged, which stop the run if they are not finite."""
        losses = with_phase(phase, phase.losses(self.model, batch))
        self.contract.check(phase.name or type(self.model).__name__, losses)
        self.finite.watch(losses, batch.image_ids, self.global_step)
        return losses

    def _log_step(self, losses: Mapping[str, Tensor], loss: Tensor, images: int) -> None:
        detached = {name: value.detach() for name, value in losses.items()}
        logged = {f"train/{name}": value for name, value in (detached | group_sums(detached)).items()}
        self.log_dict(logged, batch_size=images)
        self.log("train/loss", loss.detach(), batch_size=images)
        self.log("lr", learning_rate(self.trainer.optimizers[0]), batch_size=images)

    def on_validation_epoch_start(self) -> None:
        """Begin with nothing seen."""
        self.validation_losses = LossMeans()
        for evaluator in self.evaluators.values():
            evaluator.reset()

    def validation_step(self, batch: Batch, batch_idx: int) -> list[Answer]:
        """Answer for one batch and hand the result to the evaluators."""
        images, targets = batch
        answers = self.model(images, given=targets) if self.model.asks_for else self.model(images)
        task_of(self.model).check_answers(self.model, answers)
        for evaluator in self.evaluators.values():
            evaluator.update(targets, answers)
        if self.validation_loss:
            self.validation_losses.update(self.model(images, targets), len(images))
        return answers

    def on_validation_epoch_end(self) -> None:
        """Bring together what all processes saw, each image once, and log the numbers."""
        states = {name: evaluator.state() for name, evaluator in self.evaluators.items()}
        gathered = gather((states, self.validation_losses))
        self.log_dict(broadcast(self._numbers(gathered) if self.global_rank == 0 else None))

    def _numbers(self, gathered: list[tuple[dict[str, Any], LossMeans]]) -> dict[str, float]:
        numbers = {f"val/{name}": value for name, value in LossMeans.of([losses for _, losses in gathered]).items()}
        for name, evaluator in self.evaluators.items():
            evaluator.merge([states[name] for states, _ in gathered[1:]])
            computed = evaluator.compute()
            if evaluator.headline not in computed:
                raise InputError(
                    f"The headline of the {type(evaluator).__name__} is {evaluator.headline}, but it computes "
                    f"{', '.join(computed) or 'nothing'}: name one of these."
                )
            numbers |= {evaluator.log_name(number): float(value) for number, value in computed.items()}
        return numbers

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to go on with another learner, or with other parts of the model that have rates of their own."""
        check_learner_weights(self.learner, checkpoint["state_dict"])
        for named, saved in zip(self._trained(), checkpoint["optimizer_states"], strict=True):
            check_same_groups(self._groups(named), saved["param_groups"])

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what describes the model; refuse to save what a non-finite loss has spoilt."""
        self.finite.settle()
        if self.record is not None:
            checkpoint["detkit"] = dict(self.record)


class LossMeans:
    """The mean of each loss over images."""

    def __init__(self) -> None:
        self.images = 0
        self.totals: dict[str, float] = {}

    def update(self, losses: Mapping[str, Tensor], images: int) -> None:
        """Count the losses of a batch of `images` images."""
        self.images += images
        for name, value in losses.items():
            self.totals[name] = self.totals.get(name, 0.0) + float(value) * images

    @staticmethod
    def of(parts: Sequence[LossMeans]) -> dict[str, float]:
        """Each loss and their sum, ``loss``, over all `parts`; nothing if there were no losses."""
        images = sum(part.images for part in parts)
        names = {name: None for part in parts for name in part.totals}
        means = {name: sum(part.totals.get(name, 0.0) for part in parts) / images for name in names}
        return {"loss": sum(means.values()), **means, **group_sums(means)} if means else {}
