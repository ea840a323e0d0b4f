"""The check of the loader: its processes run, their batches fit in shared memory, and there is a core for each."""

from __future__ import annotations

import os
import time
from itertools import islice
from pathlib import Path

from detkit.trust.doctor.findings import Finding, Verdict
from detkit.trust.doctor.subject import Subject

_SHARED = Path("/dev/shm")
_AHEAD = 2  # batches that torch's loader prepares in each worker
_MIB = 2**20


def check_workers(subject: Subject) -> Finding:
    """Some batches of the training, loaded as the training does."""
    workers, loader = subject.data.num_workers, subject.data.train_dataloader()
    most = max(2, 2 * workers)
    start, images, largest = time.monotonic(), 0, 0
    for batch in islice(loader, most):
        images += len(batch[0])
        largest = max(largest, sum(image.nbytes for image in batch[0]))
        subject.progress(f"{images} images")
    seconds = time.monotonic() - start
    del loader
    notes: list[str] = []
    verdict: Verdict = "passed"
    needed, free = largest * (_AHEAD * workers + 1), _free_shared()
    cores = _cores()
    if workers and free is not None and needed > free:
        verdict = "failed"
        notes.append(
            f"{workers} workers hold up to {needed / _MIB:,.0f} MiB of batches in {_SHARED}, where "
            f"{free / _MIB:,.0f} MiB are free: lower data.num_workers or data.batch_size, or raise the limit "
            "(docker run --shm-size 8g)"
        )
    elif workers > cores:
        verdict = "warning"
        notes.append(f"there are {workers} workers for {cores} cores: lower data.num_workers")
    sentence = f"{workers} worker processes gave {images} images in {seconds:.1f} s, with their start"
    return Finding(
        "workers", verdict, sentence, notes,
        {"images": images, "seconds": seconds, "shared_memory_needed": needed, "shared_memory_free": free,
         "cores": cores},
    )  # fmt: skip


def _free_shared() -> int | None:
    """The bytes that are free in shared memory; None where there is no such folder."""
    if not _SHARED.is_dir():
        return None
    status = os.statvfs(_SHARED)
    return status.f_bavail * status.f_frsize


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
