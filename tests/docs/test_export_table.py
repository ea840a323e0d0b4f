"""The table of docs/export.md: how a graph's flat outputs become what each model decodes."""

from __future__ import annotations

import importlib
import re
from functools import partial

import pytest
import torch
from page_blocks import PAGES
from torch.utils._pytree import tree_leaves

from detkit.backbones import Darknet53, TimmBackbone, TorchvisionBackbone, YOLOv1Backbone
from detkit.heads import YOLOv1Head
from detkit.models import FCOS, SSD, RetinaNet, YOLOv1, YOLOv3
from detkit.preprocess import Square

_ROW = re.compile(r"^\| (`.*`) \| (.*) \| (?:`(.*)`)? ?\|$", re.MULTILINE)
ROWS = {name: (how, where) for names, how, where in _ROW.findall(PAGES["export.md"].read_text())
        for name in re.findall(r"`(\w+)`", names)}  # fmt: skip
MODELS = {
    "YOLOv1": lambda: YOLOv1(YOLOv1Backbone(0.02), 3, partial(YOLOv1Head, side=2, hidden=8)),
    "YOLOv3": lambda: YOLOv3(Darknet53(0.05, [1] * 5), 3, preprocess=Square(96)),
    "SSD": lambda: SSD(TimmBackbone("resnet10t", stages=[4, 5]), 3, preprocess=Square(96)),
    "RetinaNet": lambda: RetinaNet(TorchvisionBackbone("resnet18"), 3, preprocess=Square(128)),
    "FCOS": lambda: FCOS(TorchvisionBackbone("resnet18"), 3, preprocess=Square(128)),
    "RetinaNet of five levels": lambda: RetinaNet("resnet18", 3, preprocess=Square(128)),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_outputs_are_decoded_as_the_model_decodes_them(name: str):
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    model.head.postprocess.score_threshold = 0.001
    images = [torch.rand(3, 90, 90) for _ in range(2)]
    batch = model.preprocess(images)
    with torch.no_grad():
        raw, expected = tree_leaves(model.raw(batch.images)), model(images)
    how, where = ROWS[name.split()[0]]
    if where:
        names = {"raw": raw, "levels": len(getattr(model.neck, "strides", []))}
        names |= vars(importlib.import_module(where))
        raw = eval(how.strip("`"), names)
    for ours, theirs in zip(model.decode(raw, batch), expected, strict=True):
        torch.testing.assert_close(ours.boxes, theirs.boxes)
        torch.testing.assert_close(ours.scores, theirs.scores)
