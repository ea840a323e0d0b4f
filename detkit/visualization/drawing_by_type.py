"""`Drawing`, the base class of tasks' drawings: answers and ground truth are drawn by the type of the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import singledispatch
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detkit.geometry import Placement
from detkit.ops import rle_to_masks
from detkit.structures import Category, Classification, Detections, SemanticMap, Target
from detkit.structures.fields import Fields
from detkit.structures.image_fields import Camera
from detkit.visualization.drawing import draw_answer


class Drawing:
    """Draws the answers of a model and the ground truth."""

    def draw(
        self, image: np.ndarray | Tensor, answer: Any, categories: Sequence[Category], score_threshold: float = 0.5
    ) -> np.ndarray:
        """A copy of an image ``(H, W, 3)`` uint8 with an answer in its pixels; see `draw_answer`."""
        return draw_answer(image, answer, categories, score_threshold)

    def draw_truth(self, image: np.ndarray | Tensor, target: Target, categories: Sequence[Category]) -> np.ndarray:
        """A copy of an image ``(H, W, 3)`` uint8 with the ground truth in its pixels."""
        return draw_answer(image, target, categories)

    def resized(self, answer: Any, given: tuple[int, int], size: tuple[int, int]) -> Any:
        """An answer or a target for an image that was resized from `given` to `size` ``(height, width)``.

        Boxes, masks, keypoints, maps and cameras are resized; all else does not depend on the size.
        """
        boxes, masks, keypoints = (getattr(answer, name, None) for name in ("boxes", "masks", "keypoints"))
        x, y = size[1] / given[1], size[0] / given[0]
        resized: dict[str, Any] = {}
        if boxes is not None:
            resized["boxes"] = boxes * boxes.new_tensor([x, y, x, y])
        if masks is not None:
            pixels = rle_to_masks(masks)[None].float()
            resized["masks"] = torch.nn.functional.interpolate(pixels, size=size)[0] > 0.5 if len(masks) else None
        if keypoints is not None:
            resized["keypoints"] = keypoints * keypoints.new_tensor([x, y, 1.0])
        for name, kind in answer.kinds().items() if isinstance(answer, Fields) else ():
            value = getattr(answer, name)
            if value is not None and (kind.per_pixel or isinstance(kind, Camera)):
                resized[name] = kind.move(value, Placement.resize(given, size), ())
        return replace(answer, **resized) if resized else answer

    def title(self, answer: Any, score_threshold: float) -> str:
        """The title above drawings of answers such as `answer`."""
        return _title(answer, score_threshold)


@singledispatch
def _title(answer: Any, score_threshold: float) -> str:
    return "Answers"


@_title.register
def _(answer: Detections, score_threshold: float) -> str:
    return f"Detections, score ≥ {score_threshold:g}"


@_title.register
def _(answer: Classification, score_threshold: float) -> str:
    return "Classes"


@_title.register
def _(answer: SemanticMap, score_threshold: float) -> str:
    return "Label maps"
