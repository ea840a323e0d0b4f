"""The image of a prediction: its pixels, the drawing, and the part within each box."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageShow
from torch import Tensor

from detkit.errors import InputError
from detkit.images import decode_image, from_pillow, read_image
from detkit.structures import Detections
from detkit.structures.predictions import Prediction
from detkit.visualization import draw_answer, to_image_array, write_image

_LEAST_SCORE = 0.5


def image_of(prediction: Prediction) -> np.ndarray:
    """See `Prediction.image`."""
    source = prediction.source
    image = None if source is None else source.image
    if source is None or image is None:
        raise InputError(
            f"these {type(prediction).__name__} do not know their image: make them with model.predict, or give it with "
            "of_image(image, categories)"
        )
    if isinstance(image, Path):
        return read_image(image)
    if isinstance(image, bytes):
        return decode_image(image, source.name or "the image")
    if isinstance(image, (np.ndarray, Tensor)):
        return to_image_array(image)
    return from_pillow(image, "the image")


def plot(prediction: Prediction, score_threshold: float | None) -> np.ndarray:
    """See `Prediction.plot`."""
    prediction.known_categories()
    if score_threshold is None:
        score_threshold = None if prediction.source is None else prediction.source.score_threshold
    least = _LEAST_SCORE if score_threshold is None else score_threshold
    return draw_answer(image_of(prediction), prediction, prediction.categories or (), least)


def show(prediction: Prediction, score_threshold: float | None) -> None:
    """See `Prediction.show`."""
    drawn = Image.fromarray(plot(prediction, score_threshold))
    if _in_notebook():
        from IPython.display import display

        display(drawn)
    elif not ImageShow.show(drawn):
        raise InputError("no image viewer is found to show the image: write it with save(path)")


def save(prediction: Prediction, path: str | Path, score_threshold: float | None) -> None:
    """See `Prediction.save`."""
    write_image(path, plot(prediction, score_threshold))


def crops(detections: Detections) -> list[np.ndarray]:
    """See `Detections.crops`."""
    image = image_of(detections)
    height, width = image.shape[:2]
    boxes = np.nan_to_num(detections.boxes.cpu().numpy())
    corners = np.concatenate((np.floor(boxes[:, :2]), np.ceil(boxes[:, 2:])), axis=1)
    corners = corners.clip(0, [width, height, width, height]).astype(int)
    return [image[top:bottom, left:right].copy() for left, top, right, bottom in corners]


def _in_notebook() -> bool:
    """Whether this runs in a kernel that shows what it is given; IPython is loaded there already."""
    loaded = sys.modules.get("IPython")
    shell = None if loaded is None else loaded.get_ipython()
    return shell is not None and hasattr(shell, "kernel")
