"""Reading videos, cameras and network streams frame by frame."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import cv2
import numpy as np

from detkit.errors import InputError
from detkit.images.downloads import is_url
from detkit.images.suffixes import is_video

_STREAMS = ("rtsp://", "rtsps://", "rtmp://", "udp://", "tcp://")


def is_stream(source: object) -> bool:
    """Whether `source` is the address of a network stream or of a video on the web."""
    if not isinstance(source, str):
        return False
    path = source.partition("?")[0]
    return source.lower().startswith(_STREAMS) or (is_url(source) and (is_video(path) or path.endswith(".m3u8")))


def read_video(path: str | Path) -> Generator[np.ndarray, None, None]:
    """The frames of a video in order, each ``(H, W, 3)`` uint8 RGB.

    Raises:
        InputError: the file is missing, not a video, or has no frames.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: there is no such video file")
    yield from _frames(str(path), f"{path}: OpenCV finds no video frame in this file")


def read_stream(source: int | str) -> Generator[np.ndarray, None, None]:
    """The frames of a camera or a network stream, each ``(H, W, 3)`` uint8 RGB, until it ends.

    The camera is released when the iterator is closed.

    Args:
        source: the number of a camera, from 0, or an address.

    Raises:
        InputError: it gives no frame.
    """
    called = f"camera {source}" if isinstance(source, int) else source
    yield from _frames(source, f"{called} gives no frame; check that it is connected and that no other program uses it")


def _frames(source: int | str, problem: str) -> Generator[np.ndarray, None, None]:
    """The frames of a capture, which is released at the end; the error of one without frames is `problem`."""
    capture = cv2.VideoCapture(source)
    try:
        has_frame, frame = capture.read()
        if not has_frame:
            raise InputError(problem)
        while has_frame:
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            has_frame, frame = capture.read()
    finally:
        capture.release()
