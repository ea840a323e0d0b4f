"""Small recipes on written data, as the checks take them, into which a test plants a fault."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from image_files import write_image
from torch.optim import Optimizer

from detkit.backbones import TimmBackbone
from detkit.data import DataModule
from detkit.engine.evaluators import make_evaluators
from detkit.files import json_text, write_whole
from detkit.heads import NMS, RPN, BoxHead, SSDHead, TwoFullyConnected, YOLOv3Head
from detkit.learners import Learner, Phase, PlainLearner
from detkit.models import SSD, FasterRCNN, VisionModel, YOLOv3
from detkit.necks import FPN
from detkit.preprocess import Letterbox, ShortestEdge, Square
from detkit.tasks import task_of
from detkit.trust.doctor.subject import Subject

NAMES = ("cat", "dog", "owl")
HEALTHY = [
    [(8, 8, 30, 24, 0), (50, 10, 28, 40, 1), (10, 40, 24, 18, 2)],
    [(4, 6, 40, 30, 1), (60, 20, 24, 24, 0)],
    [(20, 16, 32, 32, 2), (64, 36, 20, 26, 1), (2, 2, 16, 12, 0)],
]
"""The objects of each image: x, y, width, height, label."""


def write_data(
    root: Path,
    images: Sequence[Sequence[Sequence[float]]],
    size: tuple[int, int] = (64, 96),
    names: Sequence[str] = NAMES,
) -> Path:
    """A folder in COCO's format whose splits both hold `images` of `size` (height, width)."""
    height, width = size
    random = np.random.default_rng(0)
    annotations = [
        {"id": 1000 * image + row + 1, "image_id": image, "category_id": int(label) + 1, "bbox": [x, y, w, h],
         "area": w * h, "iscrowd": 0}
        for image, objects in enumerate(images)
        for row, (x, y, w, h, label) in enumerate(objects)
    ]  # fmt: skip
    entries = [{"id": one, "file_name": f"{one}.png", "height": height, "width": width} for one in range(len(images))]
    content = {
        "images": entries,
        "annotations": annotations,
        "categories": [{"id": label + 1, "name": name} for label, name in enumerate(names)],
    }
    (root / "images").mkdir(parents=True)
    (root / "annotations").mkdir()
    for image in range(len(images)):
        write_image(root / "images" / f"{image}.png", random.integers(0, 255, (height, width, 3), dtype=np.uint8))
    for split in ("train", "val"):
        write_whole(root / "annotations" / f"instances_{split}.json", json_text(content))
    return root


def subject(root: Path, model: VisionModel, data: Mapping[str, Any] | None = None, **changes: Any) -> Subject:
    """A recipe on a folder; `data` are arguments of `DataModule`, `changes` those of `Subject`."""
    torch.manual_seed(0)
    module = DataModule(root=root, num_workers=0, **{"batch_size": 2, "augmentation": None, **(data or {})})
    module.read_for(model.learns_from, model.asks_for)
    model.categories = module.categories
    made = Subject(
        model=model,
        data=module,
        task=task_of(model),
        make_evaluators=lambda truth: make_evaluators(model, None, truth, module.categories),
        learner=PlainLearner(),
        make_optimizers=adam,
        started=None,
        precision="32-true",
        gradient_clip=None,
        device=torch.device("cpu"),
        images=100,
        steps=10,
        seed=0,
        checkpoint=None,
        progress=lambda text: None,
    )
    return replace(made, **changes)


def adam(model: VisionModel, learner: Learner, phases: Sequence[Phase], lr: float = 1e-3) -> list[Optimizer]:
    """One optimizer for all parameters."""
    return [torch.optim.Adam(model.parameters(), lr=lr)]


def yolo(anchors: Any = None, stage: int = 3, **postprocess: Any) -> YOLOv3:
    """A YOLOv3 of 96 x 64 pixels with one map."""
    head = partial(YOLOv3Head, anchors=anchors or [[[16, 14], [28, 24], [36, 36]]], postprocess=NMS(**postprocess))
    backbone = TimmBackbone("test_resnet", stages=[stage])
    return YOLOv3(backbone, 3, neck=None, head=head, preprocess=Letterbox((64, 96)))


def ssd(**postprocess: Any) -> SSD:
    """An SSD of 64 x 64 pixels with one map."""
    head = partial(SSDHead, sizes=[16, 32], postprocess=NMS(**postprocess))
    return SSD(TimmBackbone("test_resnet", stages=[3]), 3, neck=None, head=head, preprocess=Square(64))


def faster_rcnn(**proposals: Any) -> FasterRCNN:
    """A Faster R-CNN with a small pyramid; `proposals` are arguments of the suppression of its RPN."""
    return FasterRCNN(
        TimmBackbone("test_resnet"), 3,
        neck=partial(FPN, out_channels=8, extra_levels=None),
        rpn=partial(RPN, anchor_sizes=[[12, 18], [24, 34], [48, 60], [80, 90]], postprocess=NMS(**proposals)),
        box_head=partial(BoxHead, trunk=partial(TwoFullyConnected, hidden=16)),
        preprocess=ShortestEdge(min_size=64, max_size=96),
    )  # fmt: skip
