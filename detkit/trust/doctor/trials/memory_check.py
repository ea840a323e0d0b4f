"""The check of memory: the batches with the largest images and with the most objects fit."""

from __future__ import annotations

import copy
import gc
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from detkit.data.image_dataset import ImageDataset
from detkit.trust.doctor.findings import Finding
from detkit.trust.doctor.subject import Subject
from detkit.trust.doctor.trials.precisions import losses_of

_PAGE = 4096
MUCH = 0.9  # the share of memory above which there is a warning
_MIB = 2**20


def check_memory(subject: Subject) -> Finding:
    """A training step on the largest images, and one on the images with the most objects."""
    dataset, size = subject.data.train_dataset, subject.data.batch_size
    batches = {"largest images": _largest(subject, dataset, size), "most objects": _most_objects(dataset, size)}
    model = copy.deepcopy(subject.model).to(subject.device).train()
    optimizer = subject.make_optimizer(model)
    free = _free(subject.device) + _held(subject.device)
    peaks: dict[str, int] = {}
    for name, indices in batches.items():
        subject.progress(name)
        if subject.device.type == "cpu":
            before = _held(subject.device)
            one = _peak(subject, model, optimizer, indices[:1])
            expected = before + max(0, one - before) * len(indices)
            if expected > free:  # do not try it: the system would kill this process
                peaks[name] = expected
                continue
        try:
            peaks[name] = _peak(subject, model, optimizer, indices)
        except torch.OutOfMemoryError:
            return _too_large(name, size, None, free)
    name = max(peaks, key=lambda one: peaks[one])
    if peaks[name] > free:
        return _too_large(name, size, peaks[name], free)
    sentence = (
        f"with a step of {size} images this process takes up to {peaks[name] / _MIB:,.0f} of {free / _MIB:,.0f} MiB on "
        f"{subject.device.type} ({name})"
    )
    numbers = {"peaks": peaks, "free": free}
    if peaks[name] > MUCH * free:
        return Finding("memory", "warning", sentence, ["hardly any memory is left: lower data.batch_size"], numbers)
    return Finding("memory", "passed", sentence, [], numbers)


def _too_large(name: str, size: int, needed: int | None, free: int) -> Finding:
    how_much = "more" if needed is None else f"about {needed / _MIB:,.0f} MiB"
    return Finding(
        "memory", "failed", f"a step of {size} images ({name}) needs {how_much}, but there are {free / _MIB:,.0f} MiB",
        ["lower data.batch_size, or the size of the images in model.preprocess; trainer.accumulate_grad_batches keeps "
         "the images of an optimizer step"], {"free": free, "needed": needed},
    )  # fmt: skip


def _largest(subject: Subject, dataset: ImageDataset, count: int) -> list[int]:
    """The images that are largest in the network's frame."""
    sizes = dataset.image_sizes.tolist()
    places = {tuple(size): subject.model.preprocess.place(tuple(size)).size for size in sizes if all(size)}
    areas = np.array([np.prod(places.get(tuple(size), (0, 0))) for size in sizes])
    return np.argsort(-areas, kind="stable")[:count].tolist()


def _most_objects(dataset: ImageDataset, count: int) -> list[int]:
    packed = dataset.packed_annotations
    if packed is None:
        return list(range(min(count, len(dataset))))
    return np.argsort(-np.diff(packed.offsets), kind="stable")[:count].tolist()


def _peak(subject: Subject, model: torch.nn.Module, optimizer: torch.optim.Optimizer, indices: Sequence[int]) -> int:
    """The bytes that the process holds at the peak of a step."""
    samples = [subject.sample(subject.data.train_dataset, index) for index in indices]
    images, targets = (list(part) for part in zip(*samples, strict=True))
    gc.collect()
    with _watched(subject.device) as peak:
        losses = losses_of(model, images, targets, subject.precision, subject.device)  # type: ignore[arg-type]
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return peak[0]


@contextmanager
def _watched(device: torch.device) -> Iterator[list[int]]:
    """The most bytes that are held within."""
    if device.type == "cuda":
        peak = [0]
        torch.cuda.reset_peak_memory_stats(device)
        yield peak
        torch.cuda.synchronize(device)
        peak[0] = torch.cuda.max_memory_allocated(device)
        return
    peak, done = [_resident()], threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            peak[0] = max(peak[0], _resident())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def _held(device: torch.device) -> int:
    """The bytes that this process holds on a device."""
    return torch.cuda.memory_reserved(device) if device.type == "cuda" else _resident()


def _resident() -> int:
    """The bytes of memory that this process occupies; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE
    except OSError:
        return 0


def _free(device: torch.device) -> int:
    """The bytes that are free on a device."""
    if device.type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
        return free
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return 2**63 - 1
    available = next(line for line in lines if line.startswith("MemAvailable"))
    return int(available.split()[1]) * 1024
