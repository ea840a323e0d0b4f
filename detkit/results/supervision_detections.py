"""Detections as those of the package supervision."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from detkit.errors import InputError
from detkit.structures import Detections

if TYPE_CHECKING:
    import supervision


def to_supervision(detections: Detections) -> supervision.Detections:
    """See `Detections.to_supervision`."""
    try:
        import supervision
    except ImportError as error:
        raise InputError("to_supervision needs supervision: pip install supervision") from error
    fields = detections.to_numpy()
    data = {} if detections.categories is None else {"class_name": np.array(detections.names, dtype=np.str_)}
    if "keypoints" in fields:
        data["keypoints"] = fields["keypoints"]
    return supervision.Detections(
        xyxy=fields["boxes"],
        mask=fields.get("masks"),
        confidence=fields["scores"],
        class_id=fields["labels"],
        data=data,
    )
