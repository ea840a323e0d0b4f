"""Loaders: augmented samples with seeds of their own, collation, worker processes."""

from __future__ import annotations

import functools
import multiprocessing.queues
import os
import re
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Protocol

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from detkit.data.image_dataset import ImageDataset
from detkit.data.samples.checked_reading import read_sample, read_samples
from detkit.data.samples.collation import Batch, Sample, collate_to_send, unpack_batch
from detkit.data.samples.collation import collate as collate  # its module before
from detkit.data.transforms.augmentation import Augmentation
from detkit.data.transforms.mixing import ImageAndTarget, Mixing, mix
from detkit.errors import InputError, one_line
from detkit.images import to_tensor
from detkit.proposals import Proposals
from detkit.structures import Target


class TrainingDataset(Dataset):
    """A data set with mixing and augmentation, indexed by ``(index, epoch)``.

    A sample is a pure function of (seed, epoch, index): the number of workers, the order of access and a resumed run
    make no difference. Of n images, the index n + i is another sample of image i, for images that an epoch repeats.

    Args:
        dataset: the images and targets.
        augmentation: applied to each sample; None: none.
        seed: of all randomness.
        mixing: stages that combine several images, applied before the augmentation.
        mixing_epochs: mix in this number of first epochs; None: in all.
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
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: Sequence[tuple[int, int]]) -> list[Sample]:
        """The samples of a batch, all of them through one step after the other: between two images that are decoded,
        a step's code and data leave the caches, and it takes several times as long."""
        randoms = [np.random.default_rng([self.seed, epoch, index]) for index, epoch in keys]
        read = self._read([(index % len(self), epoch) for index, epoch in keys], randoms)
        augmented = deque(self._augmented(*sample, random) for sample, random in zip(read, randoms, strict=True))
        del read
        samples = []
        while augmented:  # the memory of each image is free for the next one
            image, target, flips = augmented.popleft()
            samples.append((to_tensor(image, flips), target))
        return samples

    def _read(
        self, keys: Sequence[tuple[int, int]], randoms: Sequence[np.random.Generator]
    ) -> Sequence[ImageAndTarget]:
        if not self.mixing:
            return read_samples(self.dataset, [index for index, _ in keys])
        read, samples = functools.partial(read_sample, self.dataset), []
        for (index, epoch), random in zip(keys, randoms, strict=True):
            mixes = self.mixing_epochs is None or epoch < self.mixing_epochs
            samples.append(mix(self.mixing if mixes else (), index, read, len(self), random))
        return samples

    def _augmented(
        self, image: np.ndarray, target: Target, random: np.random.Generator
    ) -> tuple[np.ndarray, Target, tuple[bool, bool]]:
        """The image, which is still to be flipped, and its target."""
        if self.augmentation is None:
            return image, target, (False, False)
        arguments = image, target, random, self.dataset.keypoint_pairs
        if type(self.augmentation).__call__ is not Augmentation.__call__:  # a subclass of the user's
            return *self.augmentation(*arguments), (False, False)
        return self.augmentation.unflipped(*arguments)


class WithProposals(Dataset):
    """A data set with region proposals added to its targets.

    Args:
        dataset: of ``(image, target)``.
        proposals: computes the regions, in the process that reads the image.
    """

    def __init__(self, dataset: Dataset, proposals: Proposals) -> None:
        self.dataset: Any = dataset  # torch's Dataset declares no length
        self.proposals = proposals

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: Any) -> Sample:
        image, target = self.dataset[key]
        return image, replace(target, proposals=self.proposals(image))


class Loader(DataLoader):
    """A `DataLoader` for detection.

    An `InputError` in a worker process is raised as it is, without the worker's traceback. So is one sentence where a
    worker has been killed, or its batch cannot be sent because shared memory is full. Nothing is fetched before the
    first batch is requested: Lightning creates the iterator of a resumed run before it sets the sampler's epoch.
    The process's global random state is not used, so that loading does not influence anything else.

    Args:
        dataset: of ``(image, target)``.
        num_workers: worker processes, which persist over epochs; 0 loads in this process.
        options: the sampler, or batch size and sampler, of `torch.utils.data.DataLoader`.

    Attributes:
        waiting_since: when this process began to wait for a batch, by `time.monotonic`; None: it does not.

    Raises:
        InputError: while iterating, see above.
    """

    waiting_since: ClassVar[float | None] = None

    def __init__(self, dataset: Dataset, num_workers: int = 0, **options: Any) -> None:
        super().__init__(
            _ErrorAsSample(dataset),
            num_workers=num_workers,
            collate_fn=collate_to_send,
            worker_init_fn=_start_worker,
            persistent_workers=num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),
            **options,
        )

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]  # the stub names a private class
        batches = super().__iter__()
        while True:
            Loader.waiting_since = time.monotonic()
            try:
                batch = next(batches, None)
            except (RuntimeError, OSError, EOFError) as error:
                sentence = dead_worker(error) or (_lost_batch(error) if self.num_workers else None)
                if sentence is None:
                    raise
                raise sentence from error
            finally:
                Loader.waiting_since = None
            if batch is None:
                return
            if isinstance(batch, InputError):
                raise batch
            yield unpack_batch(batch)


class _ErrorAsSample(Dataset):
    """A data set that returns an `InputError` as the sample instead of raising it."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset: Any = dataset  # torch's Dataset declares no length

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: Any) -> Sample | InputError:
        try:
            return self.dataset[key]
        except InputError as error:
            return error

    def __getitems__(self, keys: Sequence[Any]) -> list[Sample | InputError]:
        if not hasattr(self.dataset, "__getitems__"):
            return [self[key] for key in keys]
        try:
            return list(self.dataset.__getitems__(keys))
        except InputError as error:
            return [error]


def dead_worker(error: BaseException) -> InputError | None:
    """The sentence of torch's error that a worker process of a loader has died, which it raises anywhere; else None."""
    dead = _DEAD_WORKER.search(one_line(error))
    if dead is None or isinstance(error, InputError):
        return None
    how = f"was killed by the signal {dead['signal']}" if dead["signal"] else "has ended"
    return InputError(f"A worker process of the loader (pid {dead['pid']}) {how}: {_ADVICE}.")


def _lost_batch(error: BaseException) -> InputError | None:
    """The sentence of an error of the connection to worker processes while a batch is awaited; else None."""
    text = one_line(error)
    if not (isinstance(error, EOFError) or _LOST_BATCH.search(text)):
        return None
    return InputError(f"A worker process of the loader has ended, or cannot send its batch ({text}): {_ADVICE}.")


_DEAD_WORKER = re.compile(
    r"DataLoader worker \(pid(?:\(s\))? (?P<pid>[\d, ]+)\) (?:is killed by signal: (?P<signal>[^.]+)|exited)"
)
_LOST_BATCH = re.compile(
    r"shared memory|/torch_|ancdata|Too many open files|No space left|Connection (?:refused|reset)|Broken pipe"
)
_ADVICE = (
    "memory, shared memory (/dev/shm) or open files may have run out: lower data.num_workers (0 needs no shared "
    "memory) or data.batch_size, or raise the limit (docker run --shm-size 8g, ulimit -n)"
)


def _send_error(queue: multiprocessing.queues.Queue, error: Exception, parcel: Any) -> None:
    """Send the error in place of a batch that could not be sent, for which the main process would wait forever."""
    if not isinstance(parcel, tuple):
        os._exit(1)  # which the main process notices
    cause = one_line(error)
    queue.put((parcel[0], InputError(f"A worker process of the loader cannot send its batch ({cause}): {_ADVICE}.")))


def _start_worker(worker: int) -> None:
    # In this process, whose only queue with a feeding thread is that of the batches.
    multiprocessing.queues.Queue._on_queue_feeder_error = _send_error  # type: ignore[attr-defined]
    cv2.setNumThreads(0)  # one worker, one core
    # A signal that goes to the whole process group is handled by the main process, which then ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_exit_on_signal_of_parent, args=(os.getppid(),), daemon=True).start()


def _exit_on_signal_of_parent(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)


class HasTrainLoader(Protocol):
    """The part of a data module that `measure_loader` needs."""

    def train_dataloader(self) -> DataLoader:
        """Training batches."""
        ...


def measure_loader(datamodule: HasTrainLoader, seconds: float = 10.0) -> float:
    """The number of training images per second that the loader gives once its workers are warm.

    Args:
        datamodule: its `train_dataloader` is iterated over, repeatedly if necessary.
        seconds: the least time to measure.
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
