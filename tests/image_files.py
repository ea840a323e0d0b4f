"""Pictures for the tests to write."""

from pathlib import Path

import cv2
import numpy as np


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    """An image that JPEG cannot make small, uint8 RGB."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write_image(path: Path, image: np.ndarray) -> Path:
    """Write RGB or gray."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[..., ::-1] if image.ndim == 3 else image)
    return path
