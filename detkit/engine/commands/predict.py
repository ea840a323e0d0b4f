"""``detkit predict``: annotated copies of images and videos, and one file of results."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jsonargparse import ArgumentParser
from rich.progress import track

from detkit.deprecation import moved_names
from detkit.engine.callbacks.signals import Interrupted, SignalListener
from detkit.engine.checkpoint import load
from detkit.engine.commands.given_file import GivenFile
from detkit.engine.commands.prediction_files import Frame, Output, annotated_copies
from detkit.engine.config.parser import ParsedCommand, command_parser
from detkit.errors import InputError, first_line
from detkit.images import find_inputs, is_video, read_image, read_video
from detkit.models import VisionModel
from detkit.models.check_inputs import check_batch_size
from detkit.tasks import task_of

logger = logging.getLogger(__name__)

__getattr__ = moved_names(
    __name__,
    {
        "Picture": "detkit.engine.commands.prediction_files.Frame",
        "WRITTEN": "detkit.engine.commands.prediction_files.WRITTEN",
    },
)

DESCRIPTION = """Run a checkpoint on images, folders, glob patterns and videos.

Writes an annotated copy of each input. Results go to detections.json, in COCO's results format with file names, by
which "detkit eval --detections" joins them with annotations. A classifier writes classes.json. An input that cannot be
read is reported and skipped, and the exit status is 2.

examples:
  detkit predict --checkpoint runs/faster_rcnn_shapes/best.ckpt street.jpg --out predictions
  detkit predict --checkpoint runs/faster_rcnn_shapes/best.ckpt photos/ 'more/*.png' walk.mp4 --out predictions"""


@dataclass(frozen=True)
class PredictionOptions:
    """The arguments of ``detkit predict``."""

    inputs: list[str]
    checkpoint: str
    out: str
    score_threshold: float | None
    batch_size: int
    given: str | None
    device: str
    trust: list[str]


def predict_command(argv: Sequence[str]) -> None:
    """Parse the command line `argv` and predict."""
    parser = command_parser("predict", "--checkpoint CHECKPOINT --out OUT INPUT ... [--KEY VALUE ...]", DESCRIPTION)
    add_arguments(parser)
    options = ParsedCommand.of(parser, argv).options(PredictionOptions)
    check_batch_size(options.batch_size, "--batch_size")
    inputs = find_inputs(options.inputs)
    copies = annotated_copies(inputs, Path(options.out))
    model = load(options.checkpoint, named_device(options.device), options.trust)
    _predict(model, copies, options)


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("inputs", type=str, nargs="+", help="images, videos, folders, glob patterns")
    parser.add_argument("--checkpoint", type=str, required=True, help="checkpoint file or run folder")
    parser.add_argument("--out", type=str, required=True, help="output folder")
    parser.add_argument(
        "--score_threshold",
        type=float | None,
        help="minimum score of results; default: 0.5, for a classifier 0",
    )
    parser.add_argument("--batch_size", type=int, default=8, help="images per forward pass")
    parser.add_argument(
        "--given", type=str | None, help="JSON file with more inputs for each image, such as cameras or proposals"
    )
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument(
        "--trust", type=str, action="append", default=[], help="package whose classes a checkpoint may build"
    )


def _predict(model: VisionModel, copies: Mapping[Path, Path], options: PredictionOptions) -> None:
    """Predict in batches; after a signal or an unreadable input, finished results are on the disk."""
    unreadable: list[str] = []
    given_file = _given(model, options.given)
    task = task_of(model)
    threshold = task.least_score if options.score_threshold is None else options.score_threshold
    file = Path(options.out) / task.results_file
    listener = SignalListener()
    listener.start()
    try:
        with Output(copies, file, model.categories or [], task) as output:
            for batch in _batches(_frames(list(copies), unreadable), options.batch_size):
                given = None if given_file is None else [given_file.of(one.source, one.pixels) for one in batch]
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


def _given(model: VisionModel, path: str | None) -> GivenFile | None:
    """The file with what the model asks for; None where it asks for nothing."""
    if not model.asks_for:
        return None
    if path is None:
        names = ", ".join(sorted(model.asks_for))
        raise InputError(f"The {type(model).__name__} asks for {names} of each image: give a file with --given.")
    return GivenFile(path, model.asks_for)


def _frames(inputs: Sequence[Path], unreadable: list[str]) -> Iterator[Frame]:
    """The images and frames of all inputs in order; the error of an unreadable one is logged and appended."""
    for source in track(inputs, "predicting"):
        in_frames = is_video(source.name)
        try:
            for number, pixels in enumerate(read_video(source) if in_frames else [read_image(source)]):
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


def named_device(name: str) -> torch.device:
    """The device of an option ``--device``.

    Raises:
        InputError: there is no such device.
    """
    try:
        device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {name} cannot be used: {first_line(error)}") from error
    return device
