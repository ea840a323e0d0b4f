"""Small data sets on disk that nothing is wrong with, into which a test plants a fault."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from detkit.data import DataModule, ShapesOptions, draw_shapes
from detkit.trust.inspection import Inspection, inspect_data


def shapes(root: Path, seed: int = 0, counts: dict[str, int] | None = None) -> Path:
    """A folder in COCO's format."""
    options = ShapesOptions(counts=counts or {"train": 12, "val": 6}, seed=seed, names=("disc", "box", "star"))
    return draw_shapes(root, options)


def change(root: Path, split: str, edit: Callable[[dict[str, Any]], Any]) -> None:
    """Edit the annotation file of a split."""
    path = root / "annotations" / f"instances_{split}.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def inspected(root: Path, **settings: Any) -> Inspection:
    """The inspection of a folder."""
    return inspect_data(DataModule(root).splits, **settings)


def kinds(inspection: Inspection) -> dict[str, int]:
    """How often each kind of fault was found, in all splits."""
    counts: dict[str, int] = {}
    for problem in inspection.problems:
        counts[problem.name] = counts.get(problem.name, 0) + problem.count
    return counts


def scene(seed: int) -> np.ndarray:
    """An image of gray blobs, unlike that of another seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((8, 12, 1), dtype=np.uint8))
