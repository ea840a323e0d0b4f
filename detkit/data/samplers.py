"""Samplers: the order of images is a pure function of (seed, epoch) and is split over ranks.

Lightning must not replace them (``Trainer(use_distributed_sampler=False)``): rank and world size are read here from
`torch.distributed`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch.distributed
from torch.utils.data import Sampler, SequentialSampler


def rank_and_world_size() -> tuple[int, int]:
    """This process's rank and the number of processes; ``(0, 1)`` without `torch.distributed`."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


class TrainingBatchSampler(Sampler[list[tuple[int, int]]]):
    """Batches of ``(index, epoch)`` pairs in random order, the same number on every rank.

    Global batches of ``batch_size * world_size`` images are formed first and then cut into the ranks' parts, so that
    the k-th batches of all ranks together are the k-th batch of one process with the whole batch size. Images that do
    not fill the last global batch are left out of the epoch; a data set smaller than one global batch
    repeats its images.

    With `repeat_factors` an image of factor r comes r times an epoch on average: each epoch rounds r up or down, by
    seed and epoch. The n images have the numbers 0 to n - 1, their second copies n to 2n - 1, and so on. The length of
    an epoch is the sum of the factors, rounded down to whole batches, and so the same in each.

    Args:
        image_sizes: ``(n, 2)`` height and width in pixels.
        batch_size: images per rank and batch.
        seed: with the epoch, decides the order.
        aspect_ratio_grouping: batches hold only upright or only wide images as far as possible, which saves padding.
        skip_batches: the number of batches that the first iteration skips, for a run resumed within an epoch.
        one_epoch: whether every epoch is the first one again, to overfit a few batches.
        repeat_factors: ``(n,)`` at least 1, see `detkit.data.packed.repeat_factors`; None: each image once.
    """

    def __init__(
        self,
        image_sizes: np.ndarray,
        batch_size: int,
        seed: int = 0,
        aspect_ratio_grouping: bool = True,
        skip_batches: int = 0,
        one_epoch: bool = False,
        repeat_factors: np.ndarray | None = None,
    ) -> None:
        self.upright = image_sizes[:, 0] > image_sizes[:, 1]
        self.batch_size = batch_size
        self.seed = seed
        self.aspect_ratio_grouping = aspect_ratio_grouping
        self.skip_batches = skip_batches
        self.one_epoch = one_epoch
        self.repeat_factors = repeat_factors
        self.epoch = 0

    @property
    def sampler(self) -> TrainingBatchSampler:
        """Itself: Lightning calls `set_epoch` on this attribute of a batch sampler."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration gives."""
        self.epoch = 0 if self.one_epoch else epoch

    def __len__(self) -> int:
        _, world_size = rank_and_world_size()
        return max(1, self.images_per_epoch // (self.batch_size * world_size))

    @property
    def images_per_epoch(self) -> int:
        """How many images an epoch has, before those are left out that do not fill the last batch."""
        return len(self.upright) if self.repeat_factors is None else int(self.repeat_factors.sum())

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        rank, world_size = rank_and_world_size()
        own = slice(rank * self.batch_size, (rank + 1) * self.batch_size)
        skipped, self.skip_batches = self.skip_batches, 0
        for batch in self._global_batches(self.batch_size * world_size)[skipped:]:
            yield [(int(index), self.epoch) for index in batch[own]]

    def _global_batches(self, size: int) -> np.ndarray:
        """``(batches, size)`` indices."""
        random = np.random.default_rng([self.seed, self.epoch])
        order = self._order(random)
        if len(order) < size:
            return np.resize(order, (1, size))
        if not self.aspect_ratio_grouping:
            return order[: len(order) // size * size].reshape(-1, size)
        upright = self.upright[order % len(self.upright)]
        groups = [order[upright], order[~upright]]
        rest = np.concatenate([group[len(group) // size * size :] for group in groups])
        whole = [group[: len(group) // size * size].reshape(-1, size) for group in groups]
        mixed = rest[: len(rest) // size * size].reshape(-1, size)
        batches = np.concatenate([*whole, mixed])
        return random.permutation(batches, axis=0)

    def _order(self, random: np.random.Generator) -> np.ndarray:
        """The numbers of an epoch's images and their copies, in random order."""
        order = random.permutation(len(self.upright))
        if self.repeat_factors is None:
            return order
        # One random offset for all: image i comes as often as a whole number lies between the sums up to it, which is
        # r rounded up or down, r on average, while the total is that of the factors in every epoch.
        sums = np.floor(np.concatenate(([0.0], np.cumsum(self.repeat_factors[order]))) + random.random())
        counts = np.diff(sums).astype(np.int64)
        copies = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return random.permutation(np.repeat(order, counts) + copies * len(order))[: self.images_per_epoch]


class EvaluationSampler(SequentialSampler):
    """Every image exactly once over all ranks, in order, without padding.

    It is a `SequentialSampler`, any other of which Lightning replaces under ``overfit_batches``.
    """

    def __init__(self, num_images: int) -> None:
        super().__init__(range(num_images))
        self.num_images = num_images

    def __len__(self) -> int:
        return len(self._own())

    def __iter__(self) -> Iterator[int]:
        return iter(self._own())

    def _own(self) -> range:
        rank, world_size = rank_and_world_size()
        return range(rank, self.num_images, world_size)
