"""Time and recall of selective search, compared with OpenCV contrib's where that is installed.

    python tools/benchmark.py proposals --root ../shared/data/bccd --images 40

OpenCV's is in `opencv-contrib-python-headless`, installed in a separate folder that ``PYTHONPATH`` names. Both get the
same images, 500 pixels wide, in the same process on one thread, and the first 2,000 boxes of each count.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from detkit.data import ShapesOptions, draw_shapes
from detkit.evaluation import ProposalRecall
from detkit.images import read_image
from detkit.proposals import SelectiveSearch
from detkit.structures import Target

COUNT = 2000
TIMED_SIZE = (375, 500)  # (height, width)
LEAST = 20  # pixels that a box is high and wide, as SelectiveSearch has it

Search = Callable[[np.ndarray], Tensor]
Mode = Literal["fast", "quality"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add those of `benchmark`."""
    parser.add_argument("--root", type=Path, required=True, help="a data set in COCO format with a test split")
    parser.add_argument("--modes", nargs="+", choices=["fast", "quality"], default=["fast", "quality"])
    parser.add_argument(
        "--images", type=int, default=40, help="number of images of the data set, and of drawn ones (default: 40)"
    )


def benchmark(root: Path, modes: Sequence[Mode], images: int, out: Path | None) -> None:
    """Measure `modes` on `images` test images of `root` and as many drawn ones, and print and write the numbers."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        shapes = draw_shapes(Path(folder) / "shapes", ShapesOptions(counts={"test": images}))
        numbers = [_measure(name, search, [root, shapes], images) for name, search in _searches(modes).items()]
    table = Table("", *(key for key in numbers[0] if key != "search"))
    for row in numbers:
        table.add_row(str(row["search"]), *(f"{value:.3f}" for key, value in row.items() if key != "search"))
    Console().print(table)
    if out:
        out.write_text(json.dumps(numbers, indent=1))


def _searches(modes: Sequence[Mode]) -> dict[str, Search]:
    searches: dict[str, Search] = {}
    for mode in modes:
        ours = SelectiveSearch(mode, max_proposals=COUNT)
        searches[f"detkit, {mode}"] = partial(_detkit, ours)
        if hasattr(cv2, "ximgproc"):
            searches[f"OpenCV, {mode}"] = partial(_opencv, mode)
    return searches


def _detkit(search: SelectiveSearch, image: np.ndarray) -> Tensor:
    return search(torch.from_numpy(image).permute(2, 0, 1))


def _opencv(mode: Mode, image: np.ndarray) -> Tensor:
    scale = TIMED_SIZE[1] / image.shape[1]
    small = cv2.resize(image, (TIMED_SIZE[1], round(image.shape[0] * scale)))
    segmentation = cv2.ximgproc.segmentation  # type: ignore[attr-defined]  # in OpenCV contrib alone
    search = segmentation.createSelectiveSearchSegmentation()
    search.setBaseImage(np.ascontiguousarray(small[..., ::-1]))
    search.switchToSelectiveSearchFast() if mode == "fast" else search.switchToSelectiveSearchQuality()
    boxes = torch.from_numpy(np.asarray(search.process())).float()
    boxes = boxes[(boxes[:, 2:] >= LEAST).all(dim=1)][:COUNT]
    return torch.cat((boxes[:, :2], boxes[:, :2] + boxes[:, 2:]), dim=1) / scale


def _measure(name: str, search: Search, roots: list[Path], images: int) -> dict[str, float | str]:
    numbers: dict[str, float | str] = {"search": name}
    seconds: list[float] = []
    for root in roots:
        path = root / "annotations" / "instances_test.json"
        recall = ProposalRecall(path, [COUNT], [image["id"] for image in _records(path, images)])
        counts = []
        for record in track(_records(path, images), f"{name}, {root.name}"):
            pixels = read_image(_file(root, record["file_name"]))
            boxes = search(pixels)
            recall.update([Target.empty(image_id=record["id"])], [boxes])
            counts.append(len(boxes))
            if len(seconds) < 7:  # of the photographs, which come first
                seconds.append(_time(search, cv2.resize(pixels, TIMED_SIZE[::-1])))
        numbers[f"recall@0.5, {root.name}"] = recall.compute()[f"recall50_{COUNT}"]
        numbers[f"boxes, {root.name}"] = statistics.mean(counts)
    return {**numbers, "s per 500 x 375 image": statistics.median(seconds)}


def _records(path: Path, images: int) -> list[dict]:
    return json.loads(path.read_text())["images"][:images]


def _file(root: Path, name: str) -> Path:
    return next(path for path in (root / "images" / name, root / "images" / "test" / name) if path.is_file())


def _time(search: Search, image: np.ndarray) -> float:
    start = time.process_time()
    search(image)
    return time.process_time() - start
