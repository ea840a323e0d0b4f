"""The files that ``detkit predict`` writes: annotated copies of images and videos, and one JSON file of results."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.engine.commands.prediction.answer_files import AnswerFiles
from detkit.engine.config.parser import write_json
from detkit.errors import InputError
from detkit.files import not_written, open_whole_folder
from detkit.images import is_video
from detkit.models.answers import Answer
from detkit.structures import Category
from detkit.tasks import Task
from detkit.visualization import write_image

WRITTEN = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
"""Formats of images that a copy keeps."""


@dataclass(frozen=True)
class Frame:
    """An image, or one frame of a video.

    Args:
        source: the file or address it comes from.
        image_id: the path of an image, and of a frame also its number. It is no number, which others would join with
            the images of an annotation file.
        frame: its number in the video, from 0; None for an image.
        pixels: ``(H, W, 3)`` uint8 RGB.
    """

    source: Path | str
    image_id: str
    frame: int | None
    pixels: NDArray[np.uint8]


class Output:
    """Writes annotated copies and further files as results come, and a JSON file of all results at the end, also after
    an error.

    Args:
        copies: the annotated copy of each input.
        file: the JSON file.
        categories: of the labels.
        task: of the model; draws the answers and turns them into results.
        files: writes the further files of each answer.
    """

    def __init__(
        self,
        copies: Mapping[Path | str, Path],
        file: Path,
        categories: Sequence[Category],
        task: Task,
        files: AnswerFiles,
    ) -> None:
        self.task = task
        self.files = files
        self.copies = copies
        self.file = file
        self.categories = categories
        self.results: list[dict[str, Any]] = []
        self._written: list[dict[str, str]] = []  # the further files of each of the results
        self.images = 0
        self._video: Video | None = None
        self._folder = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._finish_video()
        finally:
            self._folder.close()
            write_json(self.file, self.task.results_content(self.results, self._written, self.categories))

    def add(self, frame: Frame, answer: Answer) -> None:
        """Write the annotated copy of an image or frame, and collect its results."""
        drawn = self.task.draw(frame.pixels, answer, self.categories, score_threshold=0.0)
        if frame.frame is None:
            write_image(self.copies[frame.source], drawn)
        else:
            self._write_frame(frame, drawn)
        written = self.files.write(frame.source, frame.frame, answer)
        names = {ending: path.relative_to(self.file.parent).as_posix() for ending, path in written.items()}
        source: dict[str, Any] = {"file_name": str(frame.source), "image_id": frame.image_id}
        source |= {} if frame.frame is None else {"frame": frame.frame}
        results = self.task.results(answer, self.categories)
        self.results += [{**source, **entry} for entry in results]
        self._written += [names] * len(results)
        self.images += 1

    def _write_frame(self, frame: Frame, drawn: NDArray[np.uint8]) -> None:
        if self._video is None or self._video.source != frame.source:
            self._finish_video()
            copy = self.copies[frame.source]
            height, width = drawn.shape[:2]
            unfinished = self._folder.enter_context(open_whole_folder(copy)) / "video.mp4"
            writer = cv2.VideoWriter(
                str(unfinished), cv2.VideoWriter.fourcc(*"mp4v"), _frame_rate(frame.source), (width, height)
            )
            if not writer.isOpened():
                raise InputError(f"{copy} cannot be written: OpenCV opens no MP4 file there.")
            self._video = Video(frame.source, unfinished, writer)
        self._video.writer.write(cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))
        self._video.frames += 1

    def _finish_video(self) -> None:
        """Rename the video of the last frames; OpenCV does not say whether it could write them, its file does."""
        if self._video is None:
            return
        video, self._video = self._video, None
        video.writer.release()
        copy = self.copies[video.source]
        if _count_frames(video.unfinished) != video.frames:
            raise InputError(f"{copy} cannot be written: frames are missing in it; free some space and try again.")
        try:
            os.replace(video.unfinished, copy)
        except OSError as error:
            raise not_written(copy, error) from error
        finally:
            self._folder.close()


@dataclass
class Video:
    """The annotated copy of a video that is being written."""

    source: Path | str
    unfinished: Path
    writer: cv2.VideoWriter
    frames: int = 0


def _count_frames(file: Path) -> int:
    capture = cv2.VideoCapture(str(file))
    try:
        return int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
    finally:
        capture.release()


def annotated_copies(inputs: Sequence[Path | str], out: Path) -> dict[Path | str, Path]:
    """The path of each input's annotated copy: under `out` as the inputs lie under their common folder; those of
    addresses under their host.

    Raises:
        InputError: a copy would replace an input.
    """
    absolute = {source: Path(os.path.abspath(source)) for source in inputs if isinstance(source, Path)}
    common = Path(os.path.commonpath([path.parent for path in absolute.values()])) if absolute else Path()
    copies: dict[Path | str, Path] = {
        source: out
        / _copied_name(absolute[source].relative_to(common) if isinstance(source, Path) else _path_of(source))
        for source in inputs
    }
    originals = {path.resolve() for path in absolute.values()}
    for source, copy in copies.items():
        if copy.resolve() in originals:
            raise InputError(f"--out {out} would replace {source} by its annotated copy: name another folder.")
    return copies


def _path_of(address: str) -> Path:
    """The path of an address: its host, then its own, with the query in the name of the file."""
    parts = urlsplit(address)
    *folders, name = [quote(part, " ") for part in parts.path.split("/") if part not in ("", ".", "..")] or ["index"]
    stem, suffix = os.path.splitext(name)
    query = f"_{quote(parts.query, '')}" if parts.query else ""
    return Path(quote(parts.netloc, ""), *folders, f"{stem}{query}{suffix}")


def _copied_name(path: Path) -> Path:
    """The name of a copy: a common format is kept, another one gets .png or .mp4 appended."""
    if is_video(path.name):
        return path if path.suffix.lower() == ".mp4" else path.with_name(path.name + ".mp4")
    return path if path.suffix.lower() in WRITTEN else path.with_name(path.name + ".png")


def _frame_rate(source: Path | str) -> float:
    capture = cv2.VideoCapture(str(source))
    try:
        return capture.get(cv2.CAP_PROP_FPS) or 25.0
    finally:
        capture.release()
