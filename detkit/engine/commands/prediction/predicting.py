"""Predicting for inputs of a command line, in batches."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.progress import track

from detkit.engine.callbacks.signals import Interrupted, SignalListener
from detkit.engine.checkpoint import load
from detkit.engine.commands.prediction.answer_files import AnswerFiles, chosen_endings
from detkit.engine.commands.prediction.central_cameras import CentralCameras
from detkit.engine.commands.prediction.devices import named_device
from detkit.engine.commands.prediction.given_file import GivenFile
from detkit.engine.commands.prediction.prediction_files import Frame, Output, annotated_copies
from detkit.errors import InputError
from detkit.images import find_sources, is_stream, is_video, read_source
from detkit.models import VisionModel
from detkit.models.check_inputs import check_batch_size
from detkit.tasks import task_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PredictionOptions:
    """The arguments of ``detkit predict``."""

    inputs: list[str]
    checkpoint: str
    out: str
    score_threshold: float | None
    batch_size: int
    given: str | None
    focal_length: float | None
    files: list[str] | None
    device: str
    trust: list[str]


def predict(options: PredictionOptions) -> None:
    """Write the results of a checkpoint for all inputs.

    Raises:
        InputError: an option is wrong, or an input cannot be read; the others are written.
    """
    check_batch_size(options.batch_size, "--batch_size")
    inputs = find_sources(options.inputs)
    copies = annotated_copies(inputs, Path(options.out))
    model = load(options.checkpoint, named_device(options.device), options.trust)
    _predict(model, copies, options)


def _predict(model: VisionModel, copies: Mapping[Path | str, Path], options: PredictionOptions) -> None:
    """Predict in batches; after a signal or an unreadable input, finished results are on the disk."""
    unreadable: list[str] = []
    givens = _givens(model, options)
    task = task_of(model)
    files = AnswerFiles(copies, chosen_endings(task, options.files), task, model.categories or [])
    threshold = task.least_score if options.score_threshold is None else options.score_threshold
    file = Path(options.out) / task.results_file
    listener = SignalListener()
    listener.start()
    try:
        with Output(copies, file, model.categories or [], task, files) as output:
            for batch in _batches(_frames(list(copies), unreadable), options.batch_size):
                given = None if givens is None else [givens.of(one.source, one.pixels) for one in batch]
                answers = model.predict([frame.pixels for frame in batch], options.batch_size, given)
                for frame, answer in zip(batch, answers, strict=True):
                    output.add(frame, task.select(answer, threshold))
                if listener.signum is not None:
                    raise Interrupted(listener.signum, f"{output.images} images are in {options.out}")
    finally:
        listener.stop()
    if unreadable:
        raise InputError(
            f"{len(unreadable)} of {len(copies)} inputs could not be read, {output.images} images are in "
            f"{options.out}; the first that was left out: {unreadable[0]}"
        )


def _givens(model: VisionModel, options: PredictionOptions) -> GivenFile | CentralCameras | None:
    """What gives the model what it asks for; None where it asks for nothing."""
    kind, asked = type(model).__name__, ", ".join(sorted(model.asks_for))
    if options.focal_length is not None:
        if options.given is not None:
            raise InputError("--focal_length and --given both give cameras: leave one of them out.")
        if model.asks_for != {"camera"}:
            raise InputError(f"--focal_length gives cameras, and the {kind} asks for {asked or 'none'}: leave it out.")
        return CentralCameras(options.focal_length)
    if not model.asks_for:
        return None
    if options.given is None:
        shorter = ", or the focal length of all images in pixels with --focal_length" * (model.asks_for == {"camera"})
        raise InputError(f"The {kind} asks for {asked} of each image: give a file with --given{shorter}.")
    return GivenFile(options.given, model.asks_for)


def _frames(inputs: Sequence[Path | str], unreadable: list[str]) -> Iterator[Frame]:
    """The images and frames of all inputs in order; the error of an unreadable one is logged and appended."""
    for source in track(inputs, "predicting"):
        in_frames = is_stream(source) or is_video(str(source))
        try:
            for number, pixels in enumerate(read_source(source)):
                image_id = f"{source}:{number}" if in_frames else str(source)
                yield Frame(source, image_id, number if in_frames else None, pixels)
        except InputError as error:
            unreadable.append(str(error))
            logger.warning("%s", error)


def _batches(frames: Iterator[Frame], size: int) -> Iterator[list[Frame]]:
    batch: list[Frame] = []
    for frame in frames:
        batch.append(frame)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
