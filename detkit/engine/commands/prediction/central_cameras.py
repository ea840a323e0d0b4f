"""The option ``--focal_length``: one camera for all images, its principal point in the middle of each."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from detkit.errors import InputError
from detkit.geometry import central_camera
from detkit.structures import Target


class CentralCameras:
    """Cameras of one focal length.

    Args:
        focal_length: in pixels of the images.

    Raises:
        InputError: it is no positive number.
    """

    def __init__(self, focal_length: float) -> None:
        if not 0 < focal_length < math.inf:
            raise InputError(f"--focal_length is {focal_length:g}: give the focal length in pixels, more than 0.")
        self.focal_length = focal_length

    def of(self, source: Path | str, pixels: np.ndarray) -> Target:
        """The camera of an image or a video frame."""
        size = pixels.shape[0], pixels.shape[1]
        return Target(camera=central_camera(size, self.focal_length), image_id=str(source))
