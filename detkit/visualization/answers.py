"""How the answers of models and the truth look: by the type of the answer, or as a task of its own has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import singledispatch
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.ops import rle_to_masks
from detkit.structures import Category, Classification, Detections, Target
from detkit.visualization.drawing import draw_class, draw_classes, draw_detections


def draw_answer(
    image: np.ndarray | Tensor, answer: Any, categories: Sequence[Category], score_threshold: float = 0.5
) -> np.ndarray:
    """Draw whatever a model answers, or the truth, into a copy of an image: boxes, or the classes of the image.

    Args:
        image: as of `draw_detections`.
        answer: `Detections`, a `Classification` or a `Target`, in pixels of that image; a `Target` without objects
            shows the class of the image, if it has one.
        categories: ``categories[k]`` names label ``k``.
        score_threshold: detections below it are not drawn; classes always are.

    Raises:
        InputError: `image` is not a picture, a label has no category, or answers of this type are drawn by their task.
    """
    return _drawn(answer, image, categories, score_threshold)


class Drawing:
    """How the answers of a model and the truth look."""

    def draw(
        self, image: np.ndarray | Tensor, answer: Any, categories: Sequence[Category], score_threshold: float = 0.5
    ) -> np.ndarray:
        """A copy of an image ``(H, W, 3)`` uint8 with what a model answers, in its pixels; see `draw_answer`."""
        return draw_answer(image, answer, categories, score_threshold)

    def draw_truth(self, image: np.ndarray | Tensor, target: Target, categories: Sequence[Category]) -> np.ndarray:
        """A copy of an image ``(H, W, 3)`` uint8 with the truth, in its pixels."""
        return draw_answer(image, target, categories)

    def resized(self, answer: Any, size: tuple[int, int], scale: float) -> Any:
        """An answer or a target in the pixels of an image that was resized by `scale` to `size` ``(height, width)``.

        What has boxes, masks or keypoints gets them resized; all else is taken to be the same at any size.
        """
        boxes, masks, keypoints = (getattr(answer, name, None) for name in ("boxes", "masks", "keypoints"))
        resized: dict[str, Any] = {}
        if boxes is not None:
            resized["boxes"] = boxes * scale
        if masks is not None:
            pixels = rle_to_masks(masks)[None].float()
            resized["masks"] = torch.nn.functional.interpolate(pixels, size=size)[0] > 0.5 if len(masks) else None
        if keypoints is not None:
            resized["keypoints"] = keypoints * torch.tensor([scale, scale, 1.0])
        return replace(answer, **resized) if resized else answer

    def title(self, answer: Any, score_threshold: float) -> str:
        """What is written above answers such as `answer`."""
        return _title(answer, score_threshold)


@singledispatch
def _drawn(
    answer: Any, image: np.ndarray | Tensor, categories: Sequence[Category], score_threshold: float
) -> np.ndarray:
    raise InputError(f"{type(answer).__name__} cannot be drawn without its task, whose `draw` says how it looks")


@_drawn.register
def _(answer: Detections, image: Any, categories: Any, score_threshold: float) -> np.ndarray:
    return draw_detections(image, answer, categories, score_threshold)


@_drawn.register
def _(answer: Classification, image: Any, categories: Any, score_threshold: float) -> np.ndarray:
    return draw_classes(image, answer, categories)


@_drawn.register
def _(answer: Target, image: Any, categories: Any, score_threshold: float) -> np.ndarray:
    if len(answer) or answer.image_label is None:
        return draw_detections(image, answer, categories, score_threshold)
    return draw_class(image, answer.image_label, categories)


@singledispatch
def _title(answer: Any, score_threshold: float) -> str:
    return "Answers"


@_title.register
def _(answer: Detections, score_threshold: float) -> str:
    return f"Detections, score ≥ {score_threshold:g}"


@_title.register
def _(answer: Classification, score_threshold: float) -> str:
    return "Classes"
