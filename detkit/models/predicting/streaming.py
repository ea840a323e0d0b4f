"""The answers for videos, cameras and many images, one after the other, in a memory that does not grow."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from torch import Tensor

from detkit.errors import InputError
from detkit.images import find_inputs, is_stream, is_url, is_video, read_stream, read_video, to_tensor
from detkit.models.check_inputs import check_batch_size
from detkit.models.not_finite import warn_again
from detkit.models.predicting.evaluation_mode import evaluation_mode
from detkit.models.predicting.image_inputs import ImageInput, as_input
from detkit.models.predicting.inference import Read, Score, answers_of, check_threshold
from detkit.structures import ImageSource

if TYPE_CHECKING:
    from detkit.models.vision_model import VisionModel

StreamInput = int | ImageInput | Iterable[ImageInput]


def stream(
    model: VisionModel, source: StreamInput, batch_size: int | None, score_threshold: Score
) -> Generator[Any, None, None]:
    """See `VisionModel.stream`. Arguments are checked now; the source is opened at the first answer."""
    is_live = isinstance(source, int) or is_stream(source)
    if batch_size is None:
        batch_size = 1 if is_live else 8
    check_batch_size(batch_size)
    check_threshold(score_threshold)
    if isinstance(source, bool) or (isinstance(source, int) and source < 0):
        raise InputError(f"a camera is a number from 0, got {source!r}")
    return _answers(model, _inputs(source), batch_size, score_threshold)


def _answers(
    model: VisionModel, frames: Generator[Read, None, None], batch_size: int, score_threshold: Score
) -> Generator[Any, None, None]:
    """Between two batches the model is as it was: its user may train it."""
    warn_again(model)
    with closing(frames):
        for batch in _batches(frames, batch_size):
            with evaluation_mode(model):
                answers = answers_of(model, batch, None, score_threshold)
            while answers:
                yield answers.pop(0)  # keeps none


def _batches(frames: Iterator[Read], size: int) -> Iterator[list[Read]]:
    """In full batches; frames that came before an error are answered before it is raised."""
    batch: list[Read] = []
    error: InputError | None = None
    while error is None:
        try:
            batch.append(next(frames))
        except StopIteration:
            break
        except InputError as raised:
            error = raised
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
    if error is not None:
        raise error


def _inputs(source: StreamInput) -> Generator[Read, None, None]:
    if isinstance(source, int) or is_stream(source):
        live = source if isinstance(source, int) else str(source)
        yield from _numbered(read_stream(live), f"camera {live}" if isinstance(live, int) else live)
    elif isinstance(source, (str, Path)) and not is_url(source):
        for file in find_inputs(source):
            if is_video(file.name):
                yield from _numbered(read_video(file), str(file))
            else:
                yield as_input(file, str(file))
    else:
        single = isinstance(source, (str, Path, Image.Image)) or (
            isinstance(source, (np.ndarray, Tensor)) and source.ndim == 3
        )
        images: Any = [source] if single or not isinstance(source, Iterable) else source
        for index, image in enumerate(images):
            yield as_input(image, f"inputs[{index}]")


def _numbered(frames: Generator[np.ndarray, None, None], name: str) -> Generator[Read, None, None]:
    with closing(frames):
        for number, pixels in enumerate(frames):
            yield to_tensor(pixels), ImageSource(pixels, name, number)
