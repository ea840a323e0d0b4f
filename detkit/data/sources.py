"""Additional data sources of a training, such as unlabeled images: each step gets a batch of every source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from detkit.data.formats.open_dataset import open_split
from detkit.data.loading import Loader, TrainingDataset, WithProposals
from detkit.data.packed.image_class import ImageClass
from detkit.data.samplers import TrainingBatchSampler
from detkit.data.samples.source_images import UnlabeledImages, WithoutObjects
from detkit.data.transforms.augmentation import Augmentation
from detkit.errors import InputError
from detkit.files.annotation_formats import Format
from detkit.proposals import Proposals
from detkit.structures import Target

Key = tuple[int, int, int]
"""The number of the source (0 is the main data), the index of its image, and the source's epoch."""

SourceBatch = tuple[list[Tensor], list[Target] | None, list[Any]]
"""Images, their targets if they have labels, and their image ids."""


class DataSource:
    """Images that a learner uses besides the main data, such as unlabeled images of another domain.

    Args:
        name: the key under which the learner gets its batches.
        root: an annotated folder, as ``data.root``; without `labels` any folder, searched recursively for images.
        labels: whether its annotations are read. Its classes must then be those of the main data.
        format: the format of `root`, as ``data.format``.
        split: of an annotated folder.
        batch_size: images per process and step; None: that of the main data.
        augmentation: of its images; None: none.
        lacks: annotation fields that it does not have: they are not read, and its images teach nothing about them.
            Without ``boxes`` its images have no objects at all.

    Raises:
        InputError: the batch size is below 1.
    """

    def __init__(
        self,
        name: str,
        root: Path,
        labels: bool = True,
        format: Format | None = None,
        split: str = "train",
        batch_size: int | None = None,
        augmentation: Augmentation | None = Augmentation(),  # noqa: B008 (holds no state between calls)
        lacks: Sequence[str] = (),
    ) -> None:
        if batch_size is not None and batch_size < 1:
            raise InputError(f"data.sources: batch_size of {name} must be at least 1, got {batch_size}")
        self.name = name
        self.root = Path(root)
        self.labels = labels
        self.format = format
        self.split = split
        self.batch_size = batch_size
        self.augmentation = augmentation
        self.lacks = frozenset(lacks)

    def open(
        self, class_names: Sequence[str], image_class: ImageClass | None, reading: Mapping[str, Any]
    ) -> SourceDataset:
        """Open the images of the source, with or without annotations.

        Args:
            class_names: the classes of the main data, in their order.
            image_class: how an image with objects gets a class, see `label_images`; None: not at all.
            reading: options of `open_split`: the fields to read and how to treat bad annotations.

        Raises:
            InputError: the folder is missing or wrong, or has other classes.
        """
        if not self.labels:
            return UnlabeledImages(self.root)
        own = {**reading, "reads": frozenset(reading["reads"]) - self.lacks}
        dataset = open_split(self.root, self.split, self.format, class_names, **own)
        names = [category.name for category in dataset.categories]
        if names != list(class_names):
            raise InputError(
                f"{dataset.annotations_path} of the data source {self.name} has the classes {names}, but the main data "
                f"has {list(class_names)}; both must list the same names in the same order of ids"
            )
        if image_class:
            dataset = dataset.with_image_labels(image_class)
        return WithoutObjects(dataset) if "boxes" in self.lacks else dataset


SourceDataset = Any  # an `ImageDataset` or one of those above: what `TrainingDataset` augments


def checked_lacks(lacks: Sequence[str] | None) -> frozenset[str]:
    """The fields that the main data lacks.

    Raises:
        InputError: they are its boxes, which are always read.
    """
    if "boxes" in (lacks or ()):
        raise InputError("data.lacks names boxes: give data with boxes as data.root, and this as one of data.sources")
    return frozenset(lacks or ())


def check_names(sources: Sequence[DataSource]) -> None:
    """Refuse sources with the same name.

    Raises:
        InputError: a name is used twice.
    """
    names = [source.name for source in sources]
    for source in sources:
        if names.count(source.name) > 1:
            raise InputError(f"data.sources has {names.count(source.name)} sources named {source.name}: name each once")


def loader_with_sources(
    dataset: TrainingDataset,
    sampler: TrainingBatchSampler,
    sources: Sequence[tuple[DataSource, SourceDataset]],
    num_workers: int,
    proposals: Proposals | None = None,
) -> SourcesLoader:
    """The loader of the main data together with its sources.

    Args:
        dataset: the main data, augmented.
        sampler: of the main data; its seed, and its batch size unless a source has one, hold for the sources too.
        sources: each with its images.
        num_workers: as of `Loader`.
        proposals: computes regions in each image; None: none.
    """
    seeds = [_seed(sampler.seed, source.name) for source, _ in sources]
    sizes = [source.batch_size or sampler.batch_size for source, _ in sources]
    opened = list(zip(sources, seeds, sizes, strict=True))
    datasets = [TrainingDataset(images, source.augmentation, seed) for (source, images), seed, _ in opened]
    samplers = [
        TrainingBatchSampler(images.image_sizes, size, seed, sampler.aspect_ratio_grouping)
        for (_, images), seed, size in opened
    ]
    parts = {source.name: (size, source.labels) for (source, _), _, size in opened}
    joined = SourcesBatchSampler(sampler, samplers)
    every: Dataset = SourcesDataset([dataset, *datasets])
    if proposals is not None:
        every = WithProposals(every, proposals)
    return SourcesLoader(every, joined, parts, num_workers)


class SourcesDataset(Dataset):
    """Several training data sets as one, indexed by `Key`.

    Args:
        datasets: the main data first.
    """

    def __init__(self, datasets: Sequence[TrainingDataset]) -> None:
        self.datasets = datasets

    def __len__(self) -> int:
        return len(self.datasets[0])

    def __getitem__(self, key: Key) -> tuple[Tensor, Target]:
        number, index, epoch = key
        return self.datasets[number][index, epoch]


class SourcesBatchSampler(Sampler[list[Key]]):
    """The main sampler's batches, each joined with a batch of every source.

    A source repeats in epochs of its own, whatever the length of the main data's. Which of its batches comes at a step
    is a pure function of the step's position in the main data, so that resuming within an epoch makes no difference.

    Args:
        main: the sampler of the main data.
        sources: the samplers of the sources.
    """

    def __init__(self, main: TrainingBatchSampler, sources: Sequence[TrainingBatchSampler]) -> None:
        self.main = main
        self.sources = sources

    @property
    def sampler(self) -> SourcesBatchSampler:
        """Itself: Lightning calls `set_epoch` on this attribute of a batch sampler."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the main data's epoch whose order the next iteration gives."""
        self.main.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.main)

    def __iter__(self) -> Iterator[list[Key]]:
        step = self.main.epoch * len(self.main) + self.main.skip_batches
        endless = [_batches_from(sampler, step) for sampler in self.sources]
        for batch in self.main:
            parts = [batch, *(next(batches) for batches in endless)]
            yield [(number, index, epoch) for number, part in enumerate(parts) for index, epoch in part]


class SourcesLoader(Loader):
    """Batches ``(images, targets, {name: (images, targets, image_ids)})``; without labels a source's targets are None.

    Args:
        dataset: of main data and sources.
        sampler: of their joined batches.
        parts: the batch size of each source, and whether it has labels, by its name.
        num_workers: as of `Loader`.
    """

    def __init__(
        self,
        dataset: Dataset,
        sampler: SourcesBatchSampler,
        parts: Mapping[str, tuple[int, bool]],
        num_workers: int = 0,
    ) -> None:
        super().__init__(dataset, num_workers, batch_sampler=sampler)
        self.parts = parts

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # the stub names a private class
        for images, targets in super().__iter__():
            start = len(images) - sum(size for size, _ in self.parts.values())
            main = images[:start], targets[:start]
            sources: dict[str, SourceBatch] = {}
            for name, (size, labels) in self.parts.items():
                part = slice(start, start + size)
                image_ids = [target.image_id for target in targets[part]]
                sources[name] = images[part], targets[part] if labels else None, image_ids
                start += size
            yield *main, sources


def _batches_from(sampler: TrainingBatchSampler, step: int) -> Iterator[list[tuple[int, int]]]:
    """The endless batches of a source from `step` on."""
    epoch, sampler.skip_batches = divmod(step, len(sampler))
    while True:
        sampler.set_epoch(epoch)
        yield from sampler
        epoch += 1


def _seed(seed: int, name: str) -> int:
    """A source's own seed, whatever its position in the list."""
    return int(np.random.SeedSequence([seed, *name.encode()]).generate_state(1)[0])
