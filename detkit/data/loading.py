"""From a data set to batches: per-sample seeds, collation, workers."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from detkit.data.image_dataset import ImageDataset
from detkit.data.transforms.augmentation import Augmentation
from detkit.data.transforms.mixing import Mixing, mixed
from detkit.errors import InputError
from detkit.images import to_tensor
from detkit.proposals import Proposals
from detkit.structures import Target

Sample = tuple[Tensor, Target]
Batch = tuple[list[Tensor], list[Target]]


class TrainingDataset(Dataset):
    """A data set mixed and varied, indexed by ``(index, epoch)``.

    A sample is a pure function of (seed, epoch, index): the number of workers, the order of visits and an
    interrupted run change nothing.

    Args:
        dataset: the pictures and targets as they are.
        augmentation: how they are varied; None leaves them as they are.
        seed: of the variation.
        mixing: how several pictures become one, before the augmentation.
        mixing_epochs: mix in so many epochs, the first ones; None: in all.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        mixing: Sequence[Mixing] = (),
        mixing_epochs: int | None = None,
    ) -> None:
        self.dataset = dataset
        self.augmentation = augmentation
        self.seed = seed
        self.mixing = mixing
        self.mixing_epochs = mixing_epochs

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        index, epoch = key
        random = np.random.default_rng([self.seed, epoch, index])
        mixes = self.mixing_epochs is None or epoch < self.mixing_epochs
        image, target = mixed(self.mixing if mixes else (), index, self.dataset.read, len(self), random)
        if self.augmentation is not None:
            image, target = self.augmentation(image, target, random, self.dataset.keypoint_pairs)
        return to_tensor(image), target


class WithProposals(Dataset):
    """Images of another data set, in whose targets stand the regions that may be objects.

    Args:
        dataset: of ``(image, target)``.
        proposals: finds the regions, in the process that reads the image.
    """

    def __init__(self, dataset: Dataset, proposals: Proposals) -> None:
        self.dataset = dataset
        self.proposals = proposals

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: Any) -> Sample:
        image, target = self.dataset[key]
        return image, replace(target, proposals=self.proposals(image))


class Loader(DataLoader):
    """A `DataLoader` for detection.

    Worker processes pass an `InputError` on as it is, without a traceback around it. Nothing is fetched before the
    first batch is asked for: Lightning makes the iterator of a resumed run before it tells the sampler the epoch. No
    random number of the process's own is drawn, so that how often data is looked at changes nothing else.

    Args:
        dataset: of ``(image, target)``.
        num_workers: worker processes, which live on from epoch to epoch; 0 loads in this process.
        options: the sampler, or batch size and sampler, of `torch.utils.data.DataLoader`.
    """

    def __init__(self, dataset: Dataset, num_workers: int = 0, **options: Any) -> None:
        super().__init__(
            _Careful(dataset),
            num_workers=num_workers,
            collate_fn=_collate_to_send,
            worker_init_fn=_start_worker,
            persistent_workers=num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),
            **options,
        )

    def __iter__(self) -> Iterator[Batch]:
        for batch in super().__iter__():
            if isinstance(batch, InputError):
                raise batch
            images, parcels = batch
            yield images, [_unpack(parcel) for parcel in parcels]


class _Careful(Dataset):
    """Gives an `InputError` as the sample instead of raising it."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: Any) -> Sample | InputError:
        try:
            return self.dataset[key]
        except InputError as error:
            return error


def collate(samples: Sequence[Sample | InputError]) -> Batch | InputError:
    """A list of images and a list of targets: images of any sizes, the model pads. The first error wins."""
    for sample in samples:
        if isinstance(sample, InputError):
            return sample
    images, targets = zip(*samples, strict=True)
    return list(images), list(targets)


def _collate_to_send(samples: Sequence[Sample | InputError]) -> tuple[list[Tensor], list[Any]] | InputError:
    """A batch with its targets as `_pack` gives them."""
    batch = collate(samples)
    return batch if isinstance(batch, InputError) else (batch[0], [_pack(target) for target in batch[1]])


def _pack(target: Target) -> tuple[type[Target], dict[str, Any]]:
    """A target without tensors, to be sent: each field as its kind packs it."""
    values = {name: (kind, getattr(target, name)) for name, kind in target.kinds().items()}
    return type(target), {name: kind.pack(value) for name, (kind, value) in values.items() if value is not None}


def _unpack(parcel: tuple[type[Target], dict[str, Any]]) -> Target:
    target_class, values = parcel
    kinds = target_class.kinds()
    return target_class(**{name: kinds[name].unpack(value) for name, value in values.items()})


def _start_worker(worker: int) -> None:
    cv2.setNumThreads(0)  # one worker, one core
    # A signal that is sent to all processes alike is the main one's affair, which ends its workers when it can.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_when_the_parent_says_so, args=(os.getppid(),), daemon=True).start()


def _end_when_the_parent_says_so(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)


class HasTrainLoader(Protocol):
    """What `measure_loader` needs of a data module."""

    def train_dataloader(self) -> DataLoader:
        """Batches to train on."""


def measure_loader(datamodule: HasTrainLoader, seconds: float = 10.0) -> float:
    """How many training images a second the loader gives, its workers being warm.

    Args:
        datamodule: its `train_dataloader` is run, over and over if need be.
        seconds: how long to measure at least.
    """
    loader = datamodule.train_dataloader()
    batches = _endless(loader)
    next(batches)
    images, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        images += len(next(batches)[0])
    return images / elapsed


def _endless(loader: DataLoader) -> Iterator[Batch]:
    while True:
        yield from loader
