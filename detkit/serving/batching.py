"""One worker that runs the model on the images of all requests, in batches."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.geometry import Size, central_camera
from detkit.images import decode_image
from detkit.models import VisionModel
from detkit.models.answers import Answer
from detkit.serving.uploads import Upload
from detkit.structures import Target

_READERS = min(4, os.cpu_count() or 1)


@dataclass(frozen=True, eq=False)
class Answered:
    """An image with its answer.

    Args:
        pixels: ``(H, W, 3)`` uint8 RGB.
        answer: of the model, of all scores.
    """

    pixels: NDArray[np.uint8]
    answer: Answer


@dataclass(frozen=True, eq=False)
class _Job:
    """An image that waits: only those of one `frame`, the size in the network's frame, share a batch."""

    upload: Upload
    frame: Size
    future: Future[Answered] = field(default_factory=Future)


class BatchingWorker:
    """Answers images one batch after the other, those that wait together.

    Images share a batch only where they have one size in the network's frame: then none of them is padded for
    another, and an answer does not depend on what others send.

    Args:
        model: it is used by one thread alone.
        batch_size: the most images of one forward pass.
        focal_length: of the camera of all images, in their pixels, see `central_camera`; None: they have none.
    """

    def __init__(self, model: VisionModel, batch_size: int, focal_length: float | None = None) -> None:
        self.model, self.batch_size, self.focal_length = model, batch_size, focal_length
        self._waiting: list[_Job] = []
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1, "detkit-model")
        self._readers = ThreadPoolExecutor(_READERS, "detkit-reader")

    def submit(self, uploads: Sequence[tuple[Upload, Size]]) -> list[Future[Answered]]:
        """The answers to come for images, each with its size ``(height, width)``.

        A future raises `InputError` if its image cannot be decoded, and what the model raises.
        """
        jobs = [_Job(upload, self._frame(size)) for upload, size in uploads]
        with self._lock:
            self._waiting += jobs
        for _ in jobs:
            self._thread.submit(self._answer_next)
        return [job.future for job in jobs]

    def _frame(self, size: Size) -> Size:
        """The size in the network's frame; of a model with a preprocessing of its own, that of the image."""
        preprocess = getattr(self.model, "preprocess", None)
        return size if preprocess is None else preprocess.place(size).size

    def _given(self, images: Sequence[NDArray[np.uint8]]) -> dict[str, Any]:
        """The camera of each image, as an argument of `predict`."""
        if self.focal_length is None:
            return {}
        sizes = [(image.shape[0], image.shape[1]) for image in images]
        return {"given": [Target(camera=central_camera(size, self.focal_length)) for size in sizes]}

    def _answer_next(self) -> None:
        """Answer the first image that waits, and others with it; called once for each image, it leaves none."""
        with self._lock:
            batch = [job for job in self._waiting if job.frame == self._waiting[0].frame][: self.batch_size]
            taken = {id(job) for job in batch}
            self._waiting = [job for job in self._waiting if id(job) not in taken]
        wanted = [job for job in batch if job.future.set_running_or_notify_cancel()]
        pixels = self._readers.map(_decoded, wanted)
        self._answer([(job, own) for job, own in zip(wanted, pixels, strict=True) if own is not None])

    def _answer(self, read: Sequence[tuple[_Job, NDArray[np.uint8]]]) -> None:
        """One image that the model cannot take does not lose the others: then each has a batch of its own."""
        if not read:
            return
        try:
            images = [pixels for _, pixels in read]
            answers = self.model.predict(images, batch_size=len(read), **self._given(images))
        except Exception as error:
            if len(read) == 1:
                read[0][0].future.set_exception(error)
            for one in read if len(read) > 1 else ():
                self._answer([one])
            return
        for (job, pixels), answer in zip(read, answers, strict=True):
            job.future.set_result(Answered(pixels, answer))


def _decoded(job: _Job) -> NDArray[np.uint8] | None:
    """The pixels; None of a broken image, whose error is the answer."""
    try:
        return decode_image(job.upload.data, job.upload.name)
    except Exception as error:
        job.future.set_exception(error)
        return None
