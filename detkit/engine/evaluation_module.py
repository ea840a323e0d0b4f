"""The Lightning module that evaluates a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from detkit.distributed import broadcast, gather
from detkit.errors import InputError
from detkit.evaluation import Evaluator
from detkit.models import VisionModel
from detkit.models.answers import Answer
from detkit.models.folding import forget
from detkit.models.loss_weights import group_sums
from detkit.structures import Target
from detkit.structures.device_transfer import images_on
from detkit.tasks import task_of

Batch = tuple[list[Tensor], list[Target]]


class EvaluationModule(LightningModule):
    """A model that is evaluated; `DetectionModule` trains one as well.

    Args:
        model: ``model(images)`` are its answers, ``model(images, targets)`` its losses.
        evaluators: by name; their numbers are logged as `Evaluator.log_name` says: ``val/AP`` … of boxes,
            ``val/segm/AP``, ``val/classification/top1`` … of others.
        validation_loss: whether to log the losses on the validation images as well.
    """

    def __init__(
        self,
        model: VisionModel,
        evaluators: Mapping[str, Evaluator] | None = None,
        validation_loss: bool = False,
    ) -> None:
        super().__init__()
        self.model = model
        self.evaluators = dict(evaluators or {})
        self.validation_loss = validation_loss

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Move the images alone, those of one size at once and as bytes: on the CPU the model checks targets without
        waiting for the GPU, then moves them."""
        images, targets, *sources = batch
        moved = images_on(images, device)
        if not sources:
            return moved, targets
        parts = {name: (images_on(of_source, device), *others) for name, (of_source, *others) in sources[0].items()}
        return moved, targets, parts

    def on_validation_epoch_start(self) -> None:
        """Forget the validation before."""
        self.validation_losses = LossMeans()
        for evaluator in self.evaluators.values():
            evaluator.reset()

    # Lightning's stub allows a loss alone, while its loop passes any output on to the callbacks.
    def validation_step(self, batch: Batch, batch_idx: int) -> list[Answer]:  # type: ignore[override]
        """Predict one batch and pass the answers to the evaluators.

        Returns:
            The answers, for callbacks; Lightning's signature has a loss.
        """
        images, targets = batch
        model = self.model.folded()
        answers = model(images, given=targets) if model.asks_for else model(images)
        task_of(self.model).check_answers(self.model, answers)
        for evaluator in self.evaluators.values():
            evaluator.update(targets, answers)
        if self.validation_loss:
            self.validation_losses.update(self.model(images, targets), len(images))
        return answers

    def on_validation_epoch_end(self) -> None:
        """Merge the results of all processes, each image once, and log the numbers."""
        forget(self.model)  # Lightning goes back to training without calling `train`
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
