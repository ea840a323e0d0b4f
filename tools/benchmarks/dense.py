"""The cost of classifying every window of an image in one dense pass, compared with one crop at a time.

    python tools/benchmark.py dense --threads 2

Both are measured interleaved in one process: a dense pass, then some of the crops, spread over the image, whose mean
represents all of them. "one pass" is the convolutional part once over the image and the last layers once per window,
the least that a dense network without repeated work can cost.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from detkit.backbones import classifier, fully_convolutional

# The net, whether its last pooling is evaluated at every offset, and (height, width) of the image.
CASES = [
    ("overfeat_accurate", True, (461, 569)),
    ("overfeat_fast", True, (461, 569)),
    ("vgg16", False, (480, 640)),
    ("vgg16", False, (800, 1216)),
]
CROPS = 6  # per repetition


@dataclass(frozen=True)
class Measurement:
    """One dense network on one image; times in seconds, costs in multiply-adds."""

    net: str
    image: tuple[int, int]
    stride: int
    positions: int
    dense_cost: int
    one_pass_cost: int
    features_cost: int
    crop_cost: int
    dense_seconds: float
    crop_seconds: float

    @property
    def times_faster(self) -> float:
        """How many times longer all crops take."""
        return self.positions * self.crop_seconds / self.dense_seconds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add those of `benchmark`."""
    parser.add_argument("--threads", type=int, default=2, help="number of threads of each program (default: 2)")
    parser.add_argument("--repetitions", type=int, default=3, help="dense passes per network (default: 3)")


def benchmark(threads: int, repetitions: int, out: Path | None) -> None:
    """Measure all cases, print a table and write JSON to `out`."""
    torch.set_num_threads(threads)
    measurements = [measure(*case, repetitions) for case in track(CASES, "measuring", transient=True)]
    Console().print(table(measurements, threads))
    if out is not None:
        record = [asdict(one) | {"times_faster": one.times_faster} for one in measurements]
        out.write_text(json.dumps({"threads": threads, "measurements": record}, indent=2) + "\n")


@torch.inference_mode()
def measure(name: str, offset_pooling: bool, size: tuple[int, int], repetitions: int) -> Measurement:
    net: Any = classifier(name).eval()
    dense: Any = fully_convolutional(net, offset_pooling=offset_pooling).eval()
    image = torch.rand(1, 3, *size)
    side = dense.training_size[0]
    rows, columns = dense(image).shape[2:]
    dense_seconds: list[float] = []
    crop_seconds: list[float] = []
    for repetition in range(repetitions):
        dense_seconds.append(seconds(dense, image))
        for index in range(CROPS):
            position = (repetition * CROPS + index) * rows * columns // (repetitions * CROPS)
            y, x = (position // columns) * dense.stride, (position % columns) * dense.stride
            crop_seconds.append(seconds(net, image[:, :, y : y + side, x : x + side]))
    crop = image[:, :, :side, :side]
    crop_cost, features_cost = cost(net, crop), cost(net.features, image)
    return Measurement(
        net=name,
        image=size,
        stride=dense.stride,
        positions=rows * columns,
        dense_cost=cost(dense, image),
        one_pass_cost=features_cost + rows * columns * (crop_cost - cost(net.features, crop)),
        features_cost=features_cost,
        crop_cost=crop_cost,
        dense_seconds=statistics.median(dense_seconds),
        crop_seconds=statistics.mean(crop_seconds),
    )


def seconds(net: nn.Module, images: Tensor) -> float:
    start = time.perf_counter()
    net(images)
    return time.perf_counter() - start


def cost(net: nn.Module, images: Tensor) -> int:
    with FlopCounterMode(display=False) as counter:
        net(images)
    return counter.get_total_flops() // 2


def table(measurements: list[Measurement], threads: int) -> Table:
    result = Table(title=f"dense evaluation and one crop at a time, {threads} threads")
    columns = ("net", "image", "stride", "windows", "dense GMAC", "of one pass", "of the features alone")
    for column in (*columns, "crops GMAC", "dense s", "crops s", "times faster"):
        result.add_column(column, justify="left" if column == "net" else "right")
    for one in measurements:
        result.add_row(
            one.net,
            f"{one.image[0]} x {one.image[1]}",
            str(one.stride),
            str(one.positions),
            f"{one.dense_cost / 1e9:.1f}",
            f"{one.dense_cost / one.one_pass_cost:.2f}",
            f"{one.dense_cost / one.features_cost:.2f}",
            f"{one.positions * one.crop_cost / 1e9:.1f}",
            f"{one.dense_seconds:.2f}",
            f"{one.positions * one.crop_seconds:.1f}",
            f"{one.times_faster:.1f}",
        )
    return result
