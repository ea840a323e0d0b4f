"""From a data set to batches: per-sample seeds, collation, workers."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from detkit.data.augmentation import Augmentation
from detkit.data.dataset import DetectionDataset
from detkit.data.mixing import Mixing, mixed
from detkit.errors import InputError
from detkit.images import to_tensor
from detkit.ops import RunLengths, masks_to_rle
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
        dataset: DetectionDataset,
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


def _collate_to_send(samples: Sequence[Sample | InputError]) -> tuple[list[Tensor], list[dict[str, Any]]] | InputError:
    """A batch with its targets as `_pack` gives them."""
    batch = collate(samples)
    return batch if isinstance(batch, InputError) else (batch[0], [_pack(target) for target in batch[1]])


def _pack(target: Target) -> dict[str, Any]:
    """The fields of a target, arrays in place of tensors, masks run-length encoded.

    A tensor that is sent from a worker takes a file descriptor and some system calls, however small it is; with five
    of them per image the descriptors that a process may have run out. Hundreds of masks as pixels would fill the
    memory that processes share.
    """
    values = {field.name: getattr(target, field.name) for field in fields(target)}
    packed = {name: value.numpy() for name, value in values.items() if isinstance(value, Tensor) and name != "masks"}
    if target.masks is not None:
        runs = masks_to_rle(target.masks)
        packed["masks"] = runs.counts.numpy(), runs.offsets.numpy(), runs.height, runs.width
    return values | packed


def _unpack(values: dict[str, Any]) -> Target:
    tensors = {name: torch.from_numpy(value) for name, value in values.items() if isinstance(value, np.ndarray)}
    if values["masks"] is not None:
        counts, offsets, height, width = values["masks"]
        tensors["masks"] = RunLengths(torch.from_numpy(counts), torch.from_numpy(offsets), height, width)
    return Target(**(values | tensors))


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
