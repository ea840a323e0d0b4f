"""The objects of a ground truth as `MeasuredData`."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from detkit.evaluation.ground_truth import GroundTruth
from detkit.evaluation.packed_objects import Masks
from detkit.evaluation.weighting.image_weighting import MeasuredData


def measured_objects(truth: GroundTruth, settings: Mapping[str, Any]) -> MeasuredData:
    """All objects, with what evaluations depend on: boxes, areas, flags, keypoints, and a checksum of each mask."""
    objects = truth.objects
    difficult = np.zeros(len(objects), dtype=bool) if objects.difficult is None else objects.difficult
    columns = [objects.boxes, *(one[:, None] for one in (objects.areas, objects.iscrowd, objects.ignored, difficult))]
    if objects.masks is not None:
        columns.append(_checksums(objects.masks)[:, None])
    if objects.keypoints is not None:
        columns.append(objects.keypoints.reshape(len(objects), -1))
    return MeasuredData(
        source=truth.source,
        image_ids=truth.image_ids,
        classes=[category.name for category in truth.categories],
        images=objects.images,
        labels=objects.categories,
        values=np.concatenate([one.astype(np.float64) for one in columns], axis=1),
        image_names=truth.image_names,
        settings=settings,
    )


def _checksums(masks: Masks) -> np.ndarray:
    """``(N,)`` exact in float64."""
    view = memoryview(masks.strings.tobytes())
    ends = masks.offsets.tolist()
    return np.array([zlib.crc32(view[a:b]) for a, b in pairwise(ends)], dtype=np.float64)
