"""The data structures of detkit: `Target` for ground truth; `Detections`, `Classification`, `SemanticMap`,
`PanopticMap` and `ObjectShape` for predictions; `Meshes` and `PointClouds` for shapes.

Symbols used in every docstring of the package:
    B images in a batch      N objects of an image     R regions of a batch
    K classes                J keypoints of an object  L feature levels
    H, W height and width    C channels                A anchors per location

Boxes are float32 ``(N, 4)`` as ``x1 y1 x2 y2`` in absolute, continuous pixels (width is ``x2 - x1``).
Labels are int64 in ``0..K-1``; background is never a label here.
"""

from detkit.structures.categories import UNUSED_LABEL, Category
from detkit.structures.fields import Fields
from detkit.structures.meshes import Meshes, PointClouds
from detkit.structures.predictions import Classification, Detections, ImageSource, ObjectShape, PanopticMap, SemanticMap
from detkit.structures.target import Target
from detkit.structures.weights_source import WeightsSource

__all__ = [
    "UNUSED_LABEL",
    "Category",
    "Classification",
    "Detections",
    "Fields",
    "ImageSource",
    "Meshes",
    "ObjectShape",
    "PanopticMap",
    "PointClouds",
    "SemanticMap",
    "Target",
    "WeightsSource",
]
