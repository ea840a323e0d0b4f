"""The check of memory: the batches with the largest images and with the most objects fit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from detkit.data.image_dataset import ImageDataset
from detkit.trust.doctor.findings import Finding
from detkit.trust.doctor.subject import Subject
from detkit.trust.doctor.trials.process_memory import MIB, free_memory, held_memory, peak_memory, release_memory
from detkit.trust.doctor.trials.trial import Trial

MUCH = 0.9  # the share of memory above which there is a warning


def check_memory(subject: Subject) -> Finding:
    """A training step on the largest images, and one on the images with the most objects."""
    dataset, size = subject.data.train_dataset, subject.data.batch_size
    batches = {"largest images": _largest(subject, dataset, size), "most objects": _most_objects(dataset, size)}
    release_memory()
    trial = Trial(subject)
    room = free_memory(subject.device) + held_memory(subject.device)
    peaks: dict[str, int] = {}
    for name, indices in batches.items():
        subject.progress(name)
        try:
            if subject.device.type == "cpu":
                _peak(trial, indices[:1])  # makes gradients and the state of the optimizer, which later steps share
                before = held_memory(subject.device)
                expected = before + max(0, _peak(trial, indices[:1]) - before) * len(indices)
                if expected > room:  # do not try it: the system would kill this process
                    peaks[name] = expected
                    continue
            peaks[name] = _peak(trial, indices)
        except torch.OutOfMemoryError:
            return _too_large(name, size, None, room)
    name = max(peaks, key=lambda one: peaks[one])
    if peaks[name] > room:
        return _too_large(name, size, peaks[name], room)
    sentence = (
        f"a step of {size} images takes this process to {peaks[name] / MIB:,.0f} of {room / MIB:,.0f} MiB on "
        f"{subject.device.type} ({name})"
    )
    numbers = {"peaks": peaks, "free": room}
    if peaks[name] > MUCH * room:
        return Finding("memory", "warning", sentence, ["hardly any memory is left: lower data.batch_size"], numbers)
    return Finding("memory", "passed", sentence, [], numbers)


def _too_large(name: str, size: int, needed: int | None, free: int) -> Finding:
    how_much = "more" if needed is None else f"about {needed / MIB:,.0f} MiB"
    return Finding(
        "memory", "failed", f"a step of {size} images ({name}) needs {how_much}, but there are {free / MIB:,.0f} MiB",
        ["lower data.batch_size, or the size of the images in model.preprocess; trainer.accumulate_grad_batches keeps "
         "the images of an optimizer step"], {"free": free, "needed": needed},
    )  # fmt: skip


def _largest(subject: Subject, dataset: ImageDataset, count: int) -> list[int]:
    """The images that are largest in the network's frame, or as given where the model has no preprocess."""
    sizes, preprocess = dataset.image_sizes.tolist(), getattr(subject.model, "preprocess", None)
    place = (lambda size: size) if preprocess is None else (lambda size: preprocess.place(size).size)
    places = {tuple(size): place(tuple(size)) for size in sizes if all(size)}
    areas = np.array([np.prod(places.get(tuple(size), (0, 0))) for size in sizes])
    return np.argsort(-areas, kind="stable")[:count].tolist()


def _most_objects(dataset: ImageDataset, count: int) -> list[int]:
    packed = dataset.packed_annotations
    if packed is None:
        return list(range(min(count, len(dataset))))
    return np.argsort(-np.diff(packed.offsets), kind="stable")[:count].tolist()


def _peak(trial: Trial, indices: Sequence[int]) -> int:
    """The bytes that the process holds at the peak of a step."""
    subject = trial.subject
    samples = [subject.sample(subject.data.train_dataset, index) for index in indices]
    images, targets = (list(part) for part in zip(*samples, strict=True))
    with peak_memory(subject.device) as peak:
        trial.step(images, targets)
    return peak[0]
