"""The training loader against OpenCV's decoding alone and torchvision's transforms v2, in one process on one core."""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
import torchvision
from rich.console import Console
from rich.table import Table
from torchvision.transforms import v2

from detkit.data import DataModule, DetectionDataset

BATCH_SIZE, BATCHES_PER_ROUND = 8, 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add those of `benchmark`."""
    parser.add_argument("--root", type=Path, required=True, help="a data set in a format of detkit's")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each side (default: 15)")


def benchmark(root: Path, rounds: int, out: Path | None) -> None:
    """Print the images per second of each side, which take turns, so that other load affects all alike.

    Args:
        root: a data set in a format of detkit's.
        rounds: turns of each side.
        out: also write the measurements to this JSON file.
    """
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    sides = {"OpenCV decoding": decoding(root), "detkit": loading(root), "torchvision v2": transforming(root)}
    for images in sides.values():
        take(images)  # warm
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, images in sides.items():
            start = time.process_time()
            count = take(images)
            seconds[name].append((time.process_time() - start) / count)
    report(seconds, root, out)


def take(images: Iterator[int]) -> int:
    """Make a round's batches, and count their images."""
    return sum(next(images) for _ in range(BATCHES_PER_ROUND))


def decoding(root: Path) -> Iterator[int]:
    """Batches of images that OpenCV decodes from memory."""
    files = [path.read_bytes() for path in training_files(root)]
    for names in batches(files):
        yield len([cv2.imdecode(np.frombuffer(name, np.uint8), cv2.IMREAD_COLOR) for name in names])


def loading(root: Path) -> Iterator[int]:
    """Batches of detkit's loader with its default augmentation, a horizontal flip."""
    data = DataModule(root, batch_size=BATCH_SIZE, num_workers=0)
    while True:
        for images, _ in data.train_dataloader():
            yield len(images)


def transforming(root: Path) -> Iterator[int]:
    """Batches of torchvision: its decoder, its flip of image and boxes, its removal of degenerate boxes."""
    dataset = DataModule(root).train_dataset
    transform = v2.Compose([v2.RandomHorizontalFlip(0.5), v2.ClampBoundingBoxes(), v2.SanitizeBoundingBoxes()])

    def sample(index: int, path: Path) -> object:
        image = torchvision.tv_tensors.Image(
            torchvision.io.decode_image(str(path), mode=torchvision.io.ImageReadMode.RGB)
        )
        target = dataset.target(index)
        boxes = torchvision.tv_tensors.BoundingBoxes(target.boxes, format="XYXY", canvas_size=image.shape[1:])
        return transform(image, {"boxes": boxes, "labels": target.labels})

    for numbered in batches(list(enumerate(training_files(root)))):
        yield len([sample(index, path) for index, path in numbered])


def training_files(root: Path) -> list[Path]:
    """The image files of the training split."""
    dataset = DataModule(root).train_dataset
    assert isinstance(dataset, DetectionDataset), "of a format without a folder of images"
    return [dataset.images_path / name for name in dataset.packed_annotations.file_names.tolist()]


def batches(items: Sequence) -> Iterator[list]:
    """Batches of `items`, again and again."""
    position = 0
    while True:
        yield [items[(position + step) % len(items)] for step in range(BATCH_SIZE)]
        position += BATCH_SIZE


def report(seconds: dict[str, list[float]], root: Path, out: Path | None) -> None:
    """Print the measurements, and write them."""
    first, *_ = seconds
    table = Table("side", "images/s of CPU time", f"share of {first}", title=f"Loading {root}, one core")
    rows = {}
    for name, times in seconds.items():
        shares = [alone / own for alone, own in zip(seconds[first], times, strict=True)]
        rows[name] = {"images_per_second": 1 / statistics.median(times), "share": statistics.median(shares)}
        table.add_row(name, f"{rows[name]['images_per_second']:.0f}", f"{rows[name]['share']:.2f}")
    Console().print(table)
    if out is not None:
        versions = {"torch": torch.__version__, "torchvision": torchvision.__version__, "opencv": cv2.__version__}
        out.write_text(json.dumps({"machine": platform.processor(), **versions, "sides": rows}, indent=2))
