"""Reading videos frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from detkit.errors import InputError


def read_video(path: str | Path) -> Iterator[np.ndarray]:
    """The frames of a video in order, each ``(H, W, 3)`` uint8 RGB.

    Raises:
        InputError: the file is missing, not a video, or has no frames.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: there is no such video file")
    capture = cv2.VideoCapture(str(path))
    try:
        has_frame, frame = capture.read()
        if not has_frame:
            raise InputError(f"{path}: OpenCV finds no video frame in this file")
        while has_frame:
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            has_frame, frame = capture.read()
    finally:
        capture.release()
