"""Images as data URLs."""

from __future__ import annotations

import base64

import cv2
import numpy as np

from detkit.visualization.image_files import resize

QUALITY = 80


def jpeg_data_url(image: np.ndarray, longest_side: int) -> str:
    """An image ``(H, W, 3)`` uint8 RGB as a JPEG in a data URL, at most `longest_side` pixels long."""
    scale = longest_side / max(image.shape[:2])
    smaller = resize(image, scale) if scale < 1 else image
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(smaller, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")
