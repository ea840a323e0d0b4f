"""Runs an exported file as docs/export.md shows it: with numpy and ONNX Runtime alone."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np

PAGE = Path(__file__).parents[2] / "docs" / "export.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
(EXAMPLE,) = (block for block in BLOCKS if "get_modelmeta" in block)
(PREPARE,) = (block for block in BLOCKS if "def prepare" in block)


def predict(session, images, cut=True):
    """What `session` finds in images ``(h, w, 3)`` uint8 of any sizes, as one batch, in pixels of each.

    Boxes are clipped to their images if `cut`, as the boxes of all models but darknet's own are.

    Returns:
        The probabilities ``(K,)`` of each image, or its boxes, scores and labels.
    """
    names: dict = {}
    exec(PREPARE, names)
    how = json.loads(session.get_modelmeta().custom_metadata_map["detkit.preprocess"])
    made = [names["prepare"](image / 255, how) for image in images]
    sides = np.max([one.shape[1:] for one, *_ in made], axis=0)
    batch = np.ones((len(made), 3, *sides), "float32") * np.float32(how["pad_value"])[:, None, None]
    for row, (one, *_) in zip(batch, made, strict=True):
        row[:, : one.shape[1], : one.shape[2]] = one
    inputs = {"images": batch, "sizes": np.array([size for _, size, *_ in made])}
    given = {one.name for one in session.get_inputs()}
    outputs = session.run(None, {name: value for name, value in inputs.items() if name in given})
    if len(outputs) == 1:
        return list(outputs[0])
    found = []
    for image, (_, _, scale, offset), boxes, scores, labels, count in zip(images, made, *outputs, strict=True):
        height, width = image.shape[:2]
        boxes = (boxes[:count] - np.tile(offset, 2)) / np.tile(scale, 2)
        kept = np.full(count, True)
        if cut:
            boxes = np.clip(boxes, 0, [width, height, width, height])
        if cut and how["kind"] == "Letterbox":
            kept = (boxes[:, 2:] - boxes[:, :2] >= 0.01).all(axis=1)
        found.append((boxes[kept], scores[:count][kept], labels[:count][kept]))
    return found
