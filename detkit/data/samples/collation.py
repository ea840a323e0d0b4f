"""`collate` makes a batch of samples; a worker process sends it with the images of one size in one tensor.

Targets are sent without tensors: each tensor takes a file descriptor and a copy to pinned memory of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from detkit.errors import InputError
from detkit.geometry import rows_alike
from detkit.structures import Target

Sample = tuple[Tensor, Target]
Batch = tuple[list[Tensor], list[Target]]
PackedTarget = tuple[type[Target], dict[str, Any]]


class PackedBatch(NamedTuple):
    """A batch as it is sent. `torch.utils.data` pins the tensors in it.

    Args:
        stacks: the images of each size ``(n, 3, H, W)``.
        rows: the positions in the batch of the images of each stack.
        targets: the fields of each target, as its kinds pack them.
    """

    stacks: list[Tensor]
    rows: list[list[int]]
    targets: list[PackedTarget]


def collate(samples: Sequence[Sample | InputError]) -> Batch | InputError:
    """A list of images of any sizes and a list of targets, or the first error among the samples."""
    for sample in samples:
        if isinstance(sample, InputError):
            return sample
    images, targets = zip(*samples, strict=True)
    return list(images), list(targets)


def collate_to_send(samples: Sequence[Sample | InputError]) -> Batch | PackedBatch | InputError:
    """As `collate`; in a worker process, packed."""
    batch = collate(samples)
    if isinstance(batch, InputError) or get_worker_info() is None:
        return batch
    images, targets = batch
    rows = rows_alike((image.shape, image.dtype) for image in images)
    stacks = [_stacked([images[index] for index in group]) for group in rows]
    return PackedBatch(stacks, rows, [_pack(target) for target in targets])


def unpack_batch(batch: Batch | PackedBatch) -> Batch:
    """The batch as `collate` makes it: its images are views of the stacks."""
    if not isinstance(batch, PackedBatch):
        return batch
    images = {
        row: image
        for stack, rows in zip(batch.stacks, batch.rows, strict=True)
        for row, image in zip(rows, stack.unbind(), strict=True)
    }
    return [images[row] for row in range(len(images))], [_unpack(target) for target in batch.targets]


def _stacked(images: Sequence[Tensor]) -> Tensor:
    """The images of one size, in memory that both processes share: they are not copied there once more."""
    size = len(images) * images[0].nbytes
    shared = torch.empty(0, dtype=images[0].dtype).set_(torch.UntypedStorage._new_shared(size))  # type: ignore[call-overload]
    return torch.stack(list(images), out=shared.view(len(images), *images[0].shape))


def _pack(target: Target) -> PackedTarget:
    values = {name: (kind, getattr(target, name)) for name, kind in target.kinds().items()}
    return type(target), {name: kind.pack(value) for name, (kind, value) in values.items() if value is not None}


def _unpack(packed: PackedTarget) -> Target:
    target_class, values = packed
    kinds = target_class.kinds()
    return target_class(**{name: kinds[name].unpack(value) for name, value in values.items()})
