"""``detkit predict``: annotated copies of images and videos, and one file of detections."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import cv2
import numpy as np
import torch
from jsonargparse import ArgumentParser, Namespace
from rich.progress import track

from detkit.engine.callbacks.signals import Interrupted, SignalListener
from detkit.engine.checkpoint import checkpoint_path, load
from detkit.engine.config.parser import command_parser, parse, write_json
from detkit.engine.given import GivenFile
from detkit.errors import InputError
from detkit.images import VIDEO_SUFFIXES, find_inputs, read_image, read_video
from detkit.models import VisionModel
from detkit.models.detector import Answer
from detkit.structures import Category
from detkit.tasks import Task, task_of
from detkit.visualization import write_image

logger = logging.getLogger(__name__)

DESCRIPTION = """Detect in images, folders, glob patterns and videos, or classify them.

Writes an annotated copy of each input and detections.json, in COCO's results format with the name of each file; of a
classifier classes.json, the same without boxes; of a model of another task what its task says.
An input that cannot be read is named and left out; the others are done, and the exit status is 2.

examples:
  tools/predict.py --checkpoint runs/shapes/best.ckpt street.jpg --out found
  tools/predict.py --checkpoint runs/shapes/best.ckpt photos/ 'more/*.png' walk.mp4 --out found"""

WRITTEN = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


@dataclass(frozen=True)
class Picture:
    """An image, or one frame of a video.

    Args:
        source: the file it comes from.
        image_id: its number among all pictures of the command, from 1.
        frame: its number in the video, from 0; None for an image.
        pixels: ``(H, W, 3)`` uint8 RGB.
    """

    source: Path
    image_id: int
    frame: int | None
    pixels: np.ndarray


def predict_command(argv: Sequence[str]) -> None:
    """Parse the command line `argv` and predict."""
    parser = command_parser("predict", "--checkpoint CHECKPOINT --out OUT INPUT ... [--KEY VALUE ...]", DESCRIPTION)
    add_arguments(parser)
    config = parse(parser, argv)
    if config.batch_size < 1:
        raise InputError(f"--batch_size must be at least 1, got {config.batch_size}.")
    inputs = find_inputs(config.inputs)
    copies = _copies(inputs, Path(config.out))
    model = load(checkpoint_path(config.checkpoint), named_device(config.device), config.trust)
    _predict(model, copies, config)


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("inputs", type=str, nargs="+", help="images, videos, folders, glob patterns")
    parser.add_argument("--checkpoint", type=str, required=True, help="a checkpoint, or a run's folder")
    parser.add_argument("--out", type=str, required=True, help="the folder to write to")
    parser.add_argument(
        "--score_threshold",
        type=float | None,
        help="leave out what scores less; default: 0.5, of a classifier 0",
    )
    parser.add_argument("--batch_size", type=int, default=8, help="images that pass through the network at once")
    parser.add_argument(
        "--given", type=str | None, help="what the model asks for of each image: a JSON as COCO's, by file names"
    )
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument(
        "--trust", type=str, action="append", default=[], help="a package whose classes a checkpoint may name"
    )


class Output:
    """Where results go: annotated copies as they come, and a JSON file of all at the end, however the end comes.

    Args:
        copies: the annotated copy of each input.
        file: the JSON file.
        categories: of the labels.
        task: of the model: it draws the answers and turns them into results.
    """

    def __init__(self, copies: dict[Path, Path], file: Path, categories: Sequence[Category], task: Task) -> None:
        self.task = task
        self.copies = copies
        self.file = file
        self.categories = categories
        self.results: list[dict[str, Any]] = []
        self.pictures = 0
        self._video: tuple[Path, Path, cv2.VideoWriter] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._finish_video()
        write_json(self.file, self.results)

    def add(self, picture: Picture, found: Answer) -> None:
        """Write the annotated copy of a picture, and note what was found in it."""
        drawn = self.task.draw(picture.pixels, found, self.categories, score_threshold=0.0)
        if picture.frame is None:
            write_image(self.copies[picture.source], drawn)
        else:
            self._write_frame(picture, drawn)
        place = {"file_name": str(picture.source), "image_id": picture.image_id}
        place |= {} if picture.frame is None else {"frame": picture.frame}
        self.results += [{**place, **entry} for entry in self.task.results(found, self.categories)]
        self.pictures += 1

    def _write_frame(self, picture: Picture, drawn: np.ndarray) -> None:
        if self._video is None or self._video[0] != picture.source:
            self._finish_video()
            copy = self.copies[picture.source]
            copy.parent.mkdir(parents=True, exist_ok=True)
            unfinished = copy.with_name(f".{copy.name}")
            height, width = drawn.shape[:2]
            writer = cv2.VideoWriter(
                str(unfinished), cv2.VideoWriter.fourcc(*"mp4v"), _frame_rate(picture.source), (width, height)
            )
            if not writer.isOpened():
                raise InputError(f"{copy} cannot be written: OpenCV opens no MP4 file there.")
            self._video = picture.source, unfinished, writer
        self._video[2].write(cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))

    def _finish_video(self) -> None:
        if self._video is not None:
            source, unfinished, writer = self._video
            writer.release()
            os.replace(unfinished, self.copies[source])
            self._video = None


def _predict(model: VisionModel, copies: dict[Path, Path], config: Namespace) -> None:
    """Detect in batches; signals and unreadable inputs leave what is done on the disk."""
    unreadable: list[str] = []
    asked = _given(model, config.given)
    task = task_of(model)
    least = task.least_score if config.score_threshold is None else config.score_threshold
    file = Path(config.out) / task.results_file
    listener = SignalListener()
    listener.start()
    try:
        with Output(copies, file, model.categories or [], task) as output:
            for batch in _batches(_pictures(list(copies), unreadable), config.batch_size):
                given = None if asked is None else [asked.of(one.source, one.pixels) for one in batch]
                found = model.predict([picture.pixels for picture in batch], config.batch_size, given)
                for picture, answer in zip(batch, found, strict=True):
                    output.add(picture, task.select(answer, least))
                if listener.signum is not None:
                    raise Interrupted(listener.signum, f"{output.pictures} pictures are in {config.out}")
    finally:
        listener.stop()
    if unreadable:
        raise InputError(
            f"{len(unreadable)} of {len(copies)} inputs could not be read, {output.pictures} pictures are in "
            f"{config.out}; the first that was left out: {unreadable[0]}"
        )


def _given(model: VisionModel, path: str | None) -> GivenFile | None:
    """What the model asks for, from a file; None where it asks for nothing."""
    if not model.asks_for:
        return None
    if path is None:
        names = ", ".join(sorted(model.asks_for))
        raise InputError(f"The {type(model).__name__} asks for {names} of each image: give a file with --given.")
    return GivenFile(path, model.asks_for)


def _pictures(inputs: Sequence[Path], unreadable: list[str]) -> Iterator[Picture]:
    """The images and frames of all inputs in order; the sentence of an unreadable one is logged and noted."""
    count = 0
    for source in track(inputs, "detecting"):
        is_video = source.suffix.lower() in VIDEO_SUFFIXES
        try:
            for frame, pixels in enumerate(read_video(source) if is_video else [read_image(source)]):
                count += 1
                yield Picture(source, count, frame if is_video else None, pixels)
        except InputError as error:
            unreadable.append(str(error))
            logger.warning("%s", error)


def _batches(pictures: Iterator[Picture], size: int) -> Iterator[list[Picture]]:
    batch: list[Picture] = []
    for picture in pictures:
        batch.append(picture)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _copies(inputs: Sequence[Path], out: Path) -> dict[Path, Path]:
    """Where the annotated copy of each input goes: below `out` as the inputs lie below their common folder.

    Raises:
        InputError: a copy would replace an input.
    """
    absolute = {source: Path(os.path.abspath(source)) for source in inputs}
    common = Path(os.path.commonpath([path.parent for path in absolute.values()]))
    copies = {source: out / _copied_name(path.relative_to(common)) for source, path in absolute.items()}
    originals = {path.resolve() for path in absolute.values()}
    for source, copy in copies.items():
        if copy.resolve() in originals:
            raise InputError(f"--out {out} would replace {source} by its annotated copy: name another folder.")
    return copies


def _copied_name(path: Path) -> Path:
    """The name of a copy: a common format is kept, another one gets .png or .mp4 behind its name."""
    if path.suffix.lower() in VIDEO_SUFFIXES:
        return path if path.suffix.lower() == ".mp4" else path.with_name(path.name + ".mp4")
    return path if path.suffix.lower() in WRITTEN else path.with_name(path.name + ".png")


def _frame_rate(source: Path) -> float:
    capture = cv2.VideoCapture(str(source))
    try:
        return capture.get(cv2.CAP_PROP_FPS) or 25.0
    finally:
        capture.release()


def named_device(name: str) -> torch.device:
    """The device of an option ``--device``.

    Raises:
        InputError: there is no such device.
    """
    try:
        device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {name} cannot be used: {str(error).splitlines()[0]}") from error
    return device
