"""The detector in training: what Lightning calls at each step and at each validation."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
import torch.distributed as distributed
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.optim import Optimizer

from detkit.engine.optimization import OptimizerFactory, Schedule, parameter_groups, scale_learning_rates
from detkit.errors import InputError
from detkit.models import Detector
from detkit.models.detector import Answer
from detkit.structures import Target

Batch = tuple[list[Tensor], list[Target]]


class Evaluator(Protocol):
    """What validation asks of an evaluator of some kind of answers; `detkit.evaluation.CocoEvaluator` is one."""

    def reset(self) -> None: ...

    def update(self, image_ids: Sequence[Any], answers: Sequence[Any]) -> None: ...

    def state(self) -> Any: ...

    def merge(self, states: Iterable[Any]) -> None: ...

    def compute(self) -> dict[str, float]: ...


class DetectionModule(LightningModule):
    """A detector with its optimizer, its learning rates and its evaluation.

    Logged are ``train/loss`` with each of its terms and ``lr`` at every step, ``val/AP`` and the evaluator's other
    numbers at every validation, and ``val/loss`` with its terms if asked for.

    Args:
        model: the detector; ``model(images, targets)`` are its losses, ``model(images)`` its detections.
        optimizer: makes the optimizer from the groups of parameters.
        schedule: the learning rate over the steps; constant if not given.
        evaluators: judge the detections of a validation, by what they compare: the numbers of ``bbox`` are logged as
            ``val/AP`` …, those of any other as ``val/segm/AP`` …, ``val/classification/top1`` …
        decay_norm_and_bias: whether weight decay holds for normalisation layers and biases too.
        lr_batch_size: how many images per optimizer step the optimizer's learning rate is for: with more or fewer it
            changes in proportion (Goyal 2017, section 2.1, "linear scaling rule"); None: it does not.
        validation_loss: whether to compute the losses on the validation images as well.
        record: what checkpoints say about the model, see `detkit.engine.checkpoint.model_record`.
    """

    def __init__(
        self,
        model: Detector,
        optimizer: OptimizerFactory,
        schedule: Schedule | None = None,
        evaluators: Mapping[str, Evaluator] | None = None,
        decay_norm_and_bias: bool = True,
        lr_batch_size: int | None = None,
        validation_loss: bool = False,
        record: Mapping[str, Any] | None = None,
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

    def configure_optimizers(self) -> Optimizer | dict[str, Any]:
        """The optimizer, and its schedule per optimizer step."""
        optimizer = self.optimizer_factory(parameter_groups(self.model, self.decay_norm_and_bias))
        if self.lr_batch_size is not None:
            scale_learning_rates(optimizer, self._images_per_step() / self.lr_batch_size)
        if self.schedule is None:
            return optimizer
        total_steps = self.trainer.estimated_stepping_batches
        if math.isinf(total_steps):
            raise InputError("A schedule needs the length of the run: give trainer.max_epochs or trainer.max_steps.")
        self.trainer.fit_loop.setup_data()  # which counts the batches
        steps_per_epoch = math.ceil(self.trainer.num_training_batches / self.trainer.accumulate_grad_batches)
        scheduler = self.schedule.attach(optimizer, int(total_steps), steps_per_epoch)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _images_per_step(self) -> int:
        """Of all processes and accumulated batches together."""
        trainer = self.trainer
        return trainer.datamodule.batch_size * trainer.world_size * trainer.accumulate_grad_batches

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Move the images alone: on the CPU the model checks targets without waiting for the GPU, then moves them."""
        images, targets = batch
        return [image.to(device, non_blocking=True) for image in images], targets

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The sum of the losses of one batch."""
        images, targets = batch
        losses = self.model(images, targets)
        self.finite.watch(losses, [target.image_id for target in targets], self.global_step)
        loss = torch.stack(list(losses.values())).sum()
        logged = {f"train/{name}": value.detach() for name, value in losses.items()}
        self.log_dict(logged, batch_size=len(images))
        self.log("train/loss", loss.detach(), batch_size=len(images))
        self.log("lr", self.optimizers().param_groups[0]["lr"], batch_size=len(images))
        return loss

    def on_validation_epoch_start(self) -> None:
        """Begin with nothing seen."""
        self.validation_losses = LossMeans()
        for evaluator in self.evaluators.values():
            evaluator.reset()

    def validation_step(self, batch: Batch, batch_idx: int) -> list[Answer]:
        """Detect in one batch and hand the result to the evaluator."""
        images, targets = batch
        detections = self.model(images, given=targets) if self.model.asks_for else self.model(images)
        for evaluator in self.evaluators.values():
            evaluator.update([target.image_id for target in targets], detections)
        if self.validation_loss:
            self.validation_losses.update(self.model(images, targets), len(images))
        return detections

    def on_validation_epoch_end(self) -> None:
        """Bring together what all processes saw, each image once, and log the numbers."""
        states = {name: evaluator.state() for name, evaluator in self.evaluators.items()}
        gathered = gather((states, self.validation_losses))
        self.log_dict(broadcast(self._numbers(gathered) if self.global_rank == 0 else None))

    def _numbers(self, gathered: list[tuple[dict[str, Any], LossMeans]]) -> dict[str, float]:
        numbers = {f"val/{name}": value for name, value in LossMeans.of([losses for _, losses in gathered]).items()}
        for kind, evaluator in self.evaluators.items():
            evaluator.merge([states[kind] for states, _ in gathered[1:]])
            prefix = "val/" if kind == "bbox" else f"val/{kind}/"
            numbers |= {prefix + name: float(value) for name, value in evaluator.compute().items()}
        return numbers

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
        return {"loss": sum(means.values()), **means} if means else {}


class FiniteCheck:
    """Stops training at a loss that is not finite, without making the CPU wait for the GPU at each step.

    On the CPU the step itself fails, before it changes a weight. On a GPU each step's flags are copied to the host
    while the GPU works on, and read when they have arrived, a few steps later; before any checkpoint is written all of
    them are waited for, so a file never holds weights that a bad step has touched.
    """

    def __init__(self) -> None:
        self.pending: deque[_Flags] = deque()

    def watch(self, losses: Mapping[str, Tensor], image_ids: Sequence[Any], step: int) -> None:
        """Note the losses of one step, and fail if one that is known by now was not finite.

        Raises:
            InputError: it names the losses, the step and the ids of the images.
        """
        finite = torch.stack([value.detach() for value in losses.values()]).isfinite().float()
        everywhere = finite.min(dim=0, keepdim=True).values
        if distributed.is_initialized():
            distributed.all_reduce(everywhere, distributed.ReduceOp.MIN)
        finite = torch.cat((finite, everywhere))
        event = None
        if finite.is_cuda:
            finite = finite.to("cpu", non_blocking=True)
            event = torch.cuda.Event()
            event.record()
        self.pending.append(_Flags(finite, event, list(losses), list(image_ids), step))
        while self.pending and self.pending[0].arrived():
            self.pending.popleft().check()

    def settle(self) -> None:
        """Wait for all flags and check them."""
        while self.pending:
            flags = self.pending.popleft()
            if flags.event is not None:
                flags.event.synchronize()
            flags.check()


class _Flags(NamedTuple):
    """Whether each loss of a step is finite, and whether all are on every process; on the host once `event` passed."""

    finite: Tensor
    event: torch.cuda.Event | None
    names: list[str]
    image_ids: list[Any]
    step: int

    def arrived(self) -> bool:
        return self.event is None or self.event.query()

    def check(self) -> None:
        *finite, everywhere = self.finite.tolist()
        bad = [name for name, value in zip(self.names, finite, strict=True) if not value]
        if not bad and not everywhere:
            raise InputError(f"A loss is not finite at step {self.step} in another process, which names it.")
        if bad:
            raise InputError(
                f"Loss {', '.join(bad)} is not finite at step {self.step}, in the batch with the images "
                f"{', '.join(map(repr, self.image_ids))}: look at these, lower the learning rate or clip gradients; "
                f"the last checkpoint is from before."
            )


def gather(value: Any) -> list[Any]:
    """`value` of every process, in the order of ranks."""
    if not distributed.is_initialized():
        return [value]
    values = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values


def broadcast(value: Any) -> Any:
    """The `value` of the first process, in all."""
    values = [value]
    if distributed.is_initialized():
        distributed.broadcast_object_list(values)
    return values[0]
