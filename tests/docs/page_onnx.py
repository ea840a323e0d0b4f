"""In place of ONNX Runtime, which not every machine has: runs the graph that torch.export saved beside the ONNX file.

Its outputs come as those of ONNX Runtime do: a flat list of arrays, in the order of the graph.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.utils._pytree import tree_leaves


class InferenceSession:
    """What ``onnxruntime.InferenceSession`` is to the page."""

    def __init__(self, path: str) -> None:
        self.graph = torch.export.load(Path(path).with_suffix(".pt2")).module()

    def run(self, _: None, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        """All outputs for `inputs` by name."""
        (images,) = inputs.values()
        with torch.no_grad():
            return [leaf.numpy() for leaf in tree_leaves(self.graph(torch.from_numpy(images)))]
