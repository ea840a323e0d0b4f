"""From the files of a request to the entries of its answer: checked, predicted, turned into JSON, drawn."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.errors import InputError
from detkit.geometry import central_camera
from detkit.images import encoded_size
from detkit.models import VisionModel
from detkit.reporting.parts.jpeg_urls import jpeg_data_url
from detkit.serving.batching import Answered, BatchingWorker
from detkit.serving.limits import Limits
from detkit.serving.uploads import Upload
from detkit.tasks import task_of

logger = logging.getLogger(__name__)

_LONGEST_SIDE = 1280
"""Of an image that is drawn into JSON, in pixels."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of one image.

    Args:
        name: of the file.
        answered: the image and its answer; None where there is an `error`.
        error: one sentence on what is wrong with the file.
    """

    name: str
    answered: Answered | None
    error: str = ""


class Answering:
    """Answers uploads with a model.

    Args:
        model: ready to predict.
        limits: of one image and of a batch.
        focal_length: of the camera of all images, in their pixels, for a model that asks for cameras.

    Raises:
        InputError: the model needs more than this, or no camera.
    """

    def __init__(self, model: VisionModel, limits: Limits, focal_length: float | None = None) -> None:
        _check_asked(model, focal_length)
        self.model, self.limits, self.task = model, limits, task_of(model)
        self.categories = model.categories or []
        self._worker = BatchingWorker(model, limits.batch_size, focal_length)

    async def outcomes(self, uploads: Sequence[Upload]) -> list[Outcome]:
        """One for each upload, in order. What the model raises, other than `InputError`, is raised."""
        sizes = [self._checked_size(upload) for upload in uploads]
        good = [(upload, size) for upload, size in zip(uploads, sizes, strict=True) if not isinstance(size, InputError)]
        answers = iter(await _all_of(self._worker.submit(good)))
        both = zip(uploads, sizes, strict=True)
        return [_outcome(upload, size if isinstance(size, InputError) else next(answers)) for upload, size in both]

    def _checked_size(self, upload: Upload) -> tuple[int, int] | InputError:
        """The height and width, by the header alone."""
        try:
            height, width = encoded_size(upload.data, upload.name)
        except InputError as error:
            return error
        if height * width <= self.limits.max_pixels:
            return height, width
        return InputError(
            f"{upload.name}: its {width}x{height} pixels are more than the {self.limits.max_pixels} that are accepted; "
            "scale it down"
        )

    def entry(self, outcome: Outcome, score: float, is_drawn: bool) -> dict[str, Any]:
        """The entry of an image in JSON; ``results`` are those of the results file of ``detkit predict``."""
        if outcome.answered is None:
            return {"file_name": outcome.name, "error": outcome.error}
        height, width = outcome.answered.pixels.shape[:2]
        answer = self.task.select(outcome.answered.answer, score)
        entry: dict[str, Any] = {
            "file_name": outcome.name,
            "width": width,
            "height": height,
            "results": self.task.results(answer, self.categories),
        }
        if is_drawn:
            entry["image"] = jpeg_data_url(self.drawn(outcome.answered, score), _LONGEST_SIDE)
        return entry

    def file(self, answered: Answered, score: float, ending: str) -> bytes:
        """The file of an answer with an ending of `Task.answer_files`."""
        return self.task.answer_file(ending, self.task.select(answered.answer, score), self.categories)

    def drawn(self, answered: Answered, score: float) -> NDArray[np.uint8]:
        """The image with what scores at least `score`, ``(H, W, 3)`` uint8 RGB."""
        answer = self.task.select(answered.answer, score)
        return self.task.draw(answered.pixels, answer, self.categories, score_threshold=0.0)


async def _all_of(futures: Sequence[Future[Answered]]) -> list[Answered | BaseException]:
    return await asyncio.gather(*(asyncio.wrap_future(future) for future in futures), return_exceptions=True)


def _outcome(upload: Upload, result: Answered | BaseException) -> Outcome:
    if isinstance(result, Answered):
        return Outcome(upload.name, result)
    if not isinstance(result, InputError):
        raise result
    sentence = str(result)
    return Outcome(upload.name, None, sentence if upload.name in sentence else f"{upload.name}: {sentence}")


def _check_asked(model: VisionModel, focal_length: float | None) -> None:
    """Refuse a model that asks for what no upload has, and a focal length that none asks for."""
    kind, names = type(model).__name__, ", ".join(sorted(model.asks_for))
    if focal_length is not None:
        if model.asks_for != {"camera"}:
            raise InputError(f"focal_length gives cameras, and the {kind} asks for {names or 'none'}: leave it out.")
        central_camera((1, 1), focal_length)
    elif model.asks_for:
        option = "--focal_length, or " * (model.asks_for == {"camera"})
        raise InputError(
            f"The {kind} asks for {names} of each image, which no upload has: use {option}`detkit predict --given`, or "
            "model.predict(…, given=…)."
        )
