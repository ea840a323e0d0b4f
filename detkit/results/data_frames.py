"""Predictions as tables of pandas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from detkit.errors import InputError
from detkit.ops import rle_to_masks
from detkit.structures import Detections, SemanticMap
from detkit.structures.categories import keypoint_category
from detkit.structures.predictions import ScoredPrediction

if TYPE_CHECKING:
    from pandas import DataFrame


def to_pandas(prediction: ScoredPrediction) -> DataFrame:
    """See `ScoredPrediction.to_pandas`."""
    columns: dict[str, Any] = {} if prediction.categories is None else {"name": prediction.names}
    columns |= {"label": prediction.labels.cpu().numpy(), "score": prediction.scores.cpu().numpy()}
    if isinstance(prediction, Detections):
        columns |= dict(zip(("x1", "y1", "x2", "y2"), prediction.boxes.cpu().numpy().T, strict=True))
        columns |= _masks(prediction) | _keypoints(prediction)
    return _pandas().DataFrame(columns)


def pixels_to_pandas(prediction: SemanticMap) -> DataFrame:
    """See `SemanticMap.to_pandas`."""
    counts = prediction.pixels()
    columns: dict[str, Any] = {}
    if prediction.categories is not None:
        columns["name"] = [category.name for category in prediction.known_categories()]
    pixels = np.array(list(counts.values()), np.int64)
    columns |= {"label": np.array(list(counts), np.int64), "pixels": pixels}
    return _pandas().DataFrame(columns | {"share": pixels / prediction.label_map.numel()})


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as error:
        raise InputError("to_pandas needs pandas: pip install pandas") from error
    return pandas


def _masks(detections: Detections) -> dict[str, np.ndarray]:
    if detections.masks is None:
        return {}
    return {"mask_area": rle_to_masks(detections.masks).flatten(1).sum(dim=1).cpu().numpy()}


def _keypoints(detections: Detections) -> dict[str, np.ndarray]:
    """Three columns for each keypoint."""
    if detections.keypoints is None:
        return {}
    values = detections.keypoints.cpu().numpy()
    category = keypoint_category(detections.categories or ())
    known = () if category is None else category.keypoints
    count = values.shape[1]
    names = list(known) if len(known) == count else [f"keypoint_{index}" for index in range(count)]
    return {
        f"{name}_{part}": values[:, index, column]
        for index, name in enumerate(names)
        for column, part in enumerate(("x", "y", "score"))
    }
