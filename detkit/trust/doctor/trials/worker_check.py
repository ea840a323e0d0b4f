"""The check of the loader: its processes run, their batches fit in shared memory, and there is a core for each."""

from __future__ import annotations

import os
import time
from itertools import islice
from pathlib import Path
from typing import Any

from detkit.data.faults.problem import counted
from detkit.trust.doctor.findings import Finding
from detkit.trust.doctor.subject import Subject
from detkit.trust.doctor.trials.process_memory import MIB

_SHARED = Path("/dev/shm")
_AHEAD = 2  # batches that torch's loader prepares in each worker


def check_workers(subject: Subject) -> Finding:
    """Some batches of the training, loaded as the training does; not where they would not fit in shared memory."""
    workers, cores = subject.data.num_workers, _cores()
    needed, free = _batch_bytes(subject) * (_AHEAD * workers + 1), _free_shared()
    numbers: dict[str, Any] = {"shared_memory_needed": needed, "shared_memory_free": free, "cores": cores}
    if workers and free is not None and needed > free:
        note = "lower data.num_workers or data.batch_size, or raise the limit (docker run --shm-size 8g)"
        held = f"{workers} workers hold up to {needed / MIB:,.0f} MiB of batches in {_SHARED}"
        return Finding("workers", "failed", f"{held}, but {free / MIB:,.0f} MiB are free", [note], numbers)
    loader = subject.data.train_dataloader()
    start, images = time.monotonic(), 0
    for batch in islice(loader, max(2, 2 * workers)):
        images += len(batch[0])
        subject.progress(f"{images} images")
    seconds = time.monotonic() - start
    del loader
    notes = [f"there are {workers} workers for {cores} cores: lower data.num_workers"] if workers > cores else []
    processes = counted(workers, "worker process", "worker processes")
    sentence = f"{processes} gave {images} images in {seconds:.1f} s, with their start"
    if not workers:
        sentence = f"the main process loaded {images} images in {seconds:.1f} s"
    numbers |= {"images": images, "seconds": seconds}
    return Finding("workers", "warning" if notes else "passed", sentence, notes, numbers)


def _batch_bytes(subject: Subject) -> int:
    """The bytes of the pixels of a batch, by a few augmented images."""
    sizes = [subject.augmented[index, 0][0].nbytes for index in subject.some(subject.data.train_dataset, 4)]
    return max(sizes, default=0) * subject.data.batch_size


def _free_shared() -> int | None:
    """The bytes that are free in shared memory; None where there is no such folder."""
    if not _SHARED.is_dir():
        return None
    status = os.statvfs(_SHARED)
    return status.f_bavail * status.f_frsize


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
