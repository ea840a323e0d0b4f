"""A YOLOv3 with one map: whatever does not depend on the number of maps is exported in a third of the time."""

from __future__ import annotations

from functools import partial

from detkit.backbones import TimmBackbone
from detkit.heads import YOLOv3Head
from detkit.models import YOLOv3
from detkit.preprocess import Letterbox, Preprocess


def one_map_yolo(preprocess: Preprocess | None = None) -> YOLOv3:
    """Of 64 x 96 pixels unless another `preprocess` is given, with random weights, in evaluation mode."""
    head = partial(YOLOv3Head, anchors=[[[16, 14], [28, 24], [36, 36]]])
    backbone = TimmBackbone("test_resnet", stages=[3])
    return YOLOv3(backbone, 3, neck=None, head=head, preprocess=preprocess or Letterbox((64, 96))).eval()
