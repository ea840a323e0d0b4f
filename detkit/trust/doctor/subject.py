"""What is examined: a recipe with its data, built, and how much effort may be spent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from detkit.data import DataModule
from detkit.data.image_dataset import ImageDataset
from detkit.data.loading import TrainingDataset
from detkit.data.spread import evenly_spread
from detkit.evaluation import Evaluator
from detkit.files import read_json
from detkit.learners import Learner, Phase, TrainingBatch
from detkit.models import VisionModel
from detkit.models.transfer.start_report import StartReport
from detkit.structures import Category, Target
from detkit.tasks import Task


@dataclass(frozen=True, eq=False)
class Subject:
    """A recipe on its data.

    Args:
        model: with the weights that a training begins with.
        data: of the recipe.
        task: of the model.
        make_evaluators: makes the evaluators of the recipe for a ground truth, by name.
        learner: of the recipe, which computes the losses of a step.
        make_optimizers: makes the optimizer of each phase of a learner, at its full learning rate.
        started: what the model has taken from the weights of ``start_from``; None where it has random weights.
        precision: of the trainer: 32-true, bf16-mixed or 16-mixed.
        gradient_clip: largest norm of the gradient; None: any.
        device: on which it would be trained.
        images: the most images of a split that are examined, spread evenly over it.
        steps: the most steps in which a batch is overfit.
        seed: of augmentation and trials.
        checkpoint: path and categories of a checkpoint that is to fit the data; None without one.
        progress: told what is being done.
    """

    model: VisionModel
    data: DataModule
    task: Task
    make_evaluators: Callable[[Any], Mapping[str, Evaluator]]
    learner: Learner
    make_optimizers: Callable[[VisionModel, Learner, Sequence[Phase]], Sequence[Optimizer]]
    started: StartReport | None
    precision: str
    gradient_clip: float | None
    device: torch.device
    images: int
    steps: int
    seed: int
    checkpoint: tuple[Path, Sequence[Category]] | None
    progress: Callable[[str], None]

    def some(self, dataset: ImageDataset, most: int | None = None) -> list[int]:
        """The indices of at most `most` images, else `images`, spread evenly over a data set."""
        return evenly_spread(len(dataset), self.images if most is None else most)

    def sample(self, dataset: ImageDataset, index: int) -> tuple[Tensor, Target]:
        """An image and its target, with proposals where the data computes them."""
        image, target = dataset[index]
        proposals = self.data.proposals
        return image, target if proposals is None else replace(target, proposals=proposals(image))

    @cached_property
    def augmented(self) -> TrainingDataset:
        """The training images as a training gets them."""
        data = self.data
        return TrainingDataset(data.train_dataset, data.augmentation, self.seed, data.mixing, data.mixing_epochs)

    def source_samples(self, count: int) -> dict[str, TrainingBatch]:
        """The first `count` images, on the device, of each further data source that the learner reads."""
        batches = {}
        for source, opened in self.data.opened_sources() if self.data.sources else ():
            plain = TrainingDataset(opened)
            images, targets = zip(*(plain[index % len(opened), 0] for index in range(count)), strict=True)
            batches[source.name] = TrainingBatch(
                [image.to(self.device) for image in images],
                list(targets) if source.labels else None,
                own_ids=[target.image_id for target in targets],
            )
        return batches


def truth_of(dataset: ImageDataset, indices: Sequence[int]) -> dict[str, Any]:
    """The ground truth of some images, as the content of a COCO file."""
    truth = dataset.ground_truth()
    content: dict[str, Any] = dict(read_json(truth) if isinstance(truth, (str, Path)) else truth)
    ids = {dataset.image_ids[index] for index in indices}
    content["images"] = [one for one in content["images"] if one["id"] in ids]
    content["annotations"] = [one for one in content["annotations"] if one["image_id"] in ids]
    return content
