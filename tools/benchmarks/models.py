"""Time whole detectors, their parts, and torchvision's counterparts.

    python tools/benchmark.py models --threads 1 --out models.json
    python tools/benchmark.py models --only yolo --batch_size 8 --device cuda

Each detector has its usual size, random weights (`benchmarks.random_models`) and an image of 480 x 640 pixels. Where
torchvision has the same detector, it gets the same weights, and both run interleaved: ``predict`` of detkit, which
folds batch norm into convolutions, and ``model(images)`` of torchvision in evaluation and inference mode. The parts
(`benchmarks.part_timer`) are timed in further runs of the folded model.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
import torchvision
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn

from benchmarks.part_timer import PARTS, PartTimer, Stopwatch
from benchmarks.random_models import OWN, cloud_image, prepare, set_threshold, suppression
from benchmarks.record import write_record
from detkit import ops
from detkit.models import Detector
from detkit.weights import from_torchvision
from detkit.weights.torchvision_weights import BUILDERS

FEWEST_REPETITIONS = 3


@dataclass(frozen=True)
class Measurement:
    """A detector's medians, in seconds for one batch; a ratio of 2 means half of torchvision's time."""

    name: str
    batch_size: int
    seconds: float
    parts: dict[str, float]
    candidates: int | None
    detections: int
    repetitions: int
    torchvision_seconds: float | None = None
    torchvision_detections: int | None = None
    ratio: float | None = None

    def share(self, part: str) -> float:
        """Of the time of the runs whose parts were timed, that of one part."""
        return self.parts[part] / sum(self.parts.values())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add those of `benchmark`."""
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where to run (default: cpu)")
    parser.add_argument("--threads", type=int, default=1, help="number of threads of each program (default: 1)")
    parser.add_argument("--batch_size", type=int, default=1, help="images per forward pass (default: 1)")
    parser.add_argument("--repetitions", type=int, default=5, help="runs per detector (default: 5)")
    parser.add_argument(
        "--longest-case",
        dest="longest",
        type=float,
        default=60,
        help="seconds after which fewer runs are enough (default: 60)",
    )
    parser.add_argument("--only", default="", help="run only the detectors whose names contain this")


def benchmark(
    device: str, threads: int, batch_size: int, repetitions: int, longest: float, only: str, out: Path | None
) -> None:
    """Measure all detectors whose name contains `only`, print a table and write JSON to `out`."""
    torch.set_num_threads(threads)
    stopwatch = Stopwatch(device, threads)
    names = [name for name in (*BUILDERS, *OWN) if only in name]
    measurements = []
    for name in track(names, "measuring", transient=True):
        measurements.append(measure(name, *made(name, device), stopwatch, batch_size, repetitions, longest))
    Console().print(table(measurements, device, threads))
    if out is not None:
        device_name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
        rows = [asdict(one) | {"decoding_share": one.share("decoding")} for one in measurements]
        write_record(out, device_name, rows, threads=threads)


def made(name: str, device: str) -> tuple[Detector, nn.Module | None]:
    """The detector `name` and torchvision's counterpart, if there is one, ready to be measured."""
    torch.manual_seed(0)
    if name in OWN:
        model = OWN[name]().to(device).eval()
        prepare(model, device)
        return model, None
    theirs = torchvision.models.get_model(name, weights=None, weights_backbone=None).to(device).eval()
    prepare(theirs, device)
    ours = cast(Detector, from_torchvision(name, theirs.state_dict()))
    return ours.to(device).eval(), theirs


@torch.inference_mode()
def measure(
    name: str,
    model: Detector,
    theirs: nn.Module | None,
    stopwatch: Stopwatch,
    batch_size: int,
    repetitions: int,
    longest: float,
) -> Measurement:
    """Both interleaved, after a warm-up run of each, then the parts of detkit's."""
    images = [cloud_image(next(model.parameters()).device)] * batch_size
    candidates = set_threshold(model, images)
    their_detections = None
    if theirs is not None:
        owner: Any = theirs.roi_heads if hasattr(theirs, "roi_heads") else theirs
        owner.score_thresh = suppression(getattr(model, "head", getattr(model, "box_head", None))).score_threshold
        their_detections = len(theirs(images)[0]["scores"])
    detections = model.predict(images, batch_size)
    ours: list[float] = []
    counterparts: list[float] = []
    end = time.perf_counter() + longest
    while len(ours) < FEWEST_REPETITIONS or (len(ours) < repetitions and time.perf_counter() < end):
        ours.append(stopwatch.time(lambda: model.predict(images, batch_size)))
        if theirs is not None:
            counterparts.append(stopwatch.time(lambda: theirs(images)))
    return Measurement(
        name=name,
        batch_size=batch_size,
        seconds=statistics.median(ours),
        parts=part_seconds(model, images, stopwatch),
        candidates=candidates and candidates // batch_size,
        detections=len(detections[0]),
        repetitions=len(ours),
        torchvision_seconds=statistics.median(counterparts) if counterparts else None,
        torchvision_detections=their_detections,
        ratio=statistics.median(one / two for one, two in zip(counterparts, ours, strict=True))
        if counterparts
        else None,
    )


def part_seconds(model: Detector, images: Sequence[Tensor], stopwatch: Stopwatch) -> dict[str, float]:
    """The medians of the parts of a detector's time, without batch norm as in ``predict``."""
    copy = model.folded()
    timer = PartTimer(copy, stopwatch)
    runs = [timer.take(stopwatch.time(lambda: copy(images))) for _ in range(FEWEST_REPETITIONS)]
    timer.remove()
    return {part: statistics.median(one[part] for one in runs) for part in PARTS}


def table(measurements: Sequence[Measurement], device: str, threads: int) -> Table:
    result = Table(
        title=f"detkit ({ops.backend()}) and torchvision {torchvision.__version__}, {device}, {threads} threads"
    )
    ratios = [one.ratio for one in measurements if one.ratio]
    if ratios:
        result.caption = f"times faster: median {statistics.median(ratios):.2f}, least {min(ratios):.2f}"
    for column in ("detector", "images/s", "torchvision's", "times faster", *(f"{part} %" for part in PARTS)):
        result.add_column(column, justify="left" if column == "detector" else "right", no_wrap=column == "detector")
    for column in ("candidates", "detections", "batch", "runs"):
        result.add_column(column, justify="right")
    for one in measurements:
        theirs = one.torchvision_seconds
        result.add_row(
            one.name,
            f"{one.batch_size / one.seconds:.3g}",
            f"{one.batch_size / theirs:.3g}" if theirs else "",
            f"{one.ratio:.2f}" if one.ratio else "",
            *(f"{100 * one.share(part):.1f}" if one.parts[part] else "" for part in PARTS),
            "" if one.candidates is None else str(one.candidates),
            str(one.detections),
            str(one.batch_size),
            str(one.repetitions),
        )
    return result
