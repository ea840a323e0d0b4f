"""Time whole training steps and predictions of batches, and torchvision's counterparts, with the same weights.

    python tools/benchmark.py steps --device cuda
    python tools/benchmark.py steps --device cuda --only ssd300 --dtype float32

A batch has random images of 480 x 640 pixels with 8 objects each, on the device. Weights are random; detkit's model
is channels-last, torchvision's as it comes. A training step is SGD's, with the losses' forward and backward. Both
programs run interleaved. On CUDA a profile of detkit's steps follows: the share of the time in which the GPU computes,
and how many kernels a step launches and how often it waits for the device.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
import torchvision
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from benchmarks.record import write_record
from detkit import ops
from detkit.models import Detector
from detkit.structures import Target
from detkit.weights import from_torchvision

MODELS = ("maskrcnn_resnet50_fpn", "ssd300_vgg16")
MODES = ("train", "predict")
IMAGE_SIZE = (480, 640)  # height and width
OBJECTS = 8
CLASSES = 80
WARM_UP_STEPS = 4
PROFILED_STEPS = 3


@dataclass(frozen=True)
class Scene:
    """A batch of random images of one size, with objects that are filled rectangles."""

    images: list[Tensor]
    boxes: list[Tensor]
    labels: list[Tensor]
    masks: list[Tensor]

    @staticmethod
    def random(batch_size: int, device: str) -> Scene:
        generator = torch.Generator().manual_seed(1)
        height, width = IMAGE_SIZE
        images = [torch.randint(0, 256, (3, height, width), generator=generator) for _ in range(batch_size)]
        scene = Scene([image.to(device, torch.uint8) for image in images], [], [], [])
        extent = torch.tensor([width, height])
        for _ in range(batch_size):
            sides = extent * (0.04 + torch.rand(OBJECTS, 2, generator=generator) * 0.4)
            corner = torch.rand(OBJECTS, 2, generator=generator) * (extent - sides)
            boxes = torch.cat([corner, corner + sides], 1)
            x, y = torch.arange(width), torch.arange(height)[:, None]
            x1, y1, x2, y2 = boxes[:, :, None, None].unbind(1)
            scene.boxes.append(boxes.to(device))
            scene.labels.append(torch.randint(0, CLASSES, (OBJECTS,), generator=generator).to(device))
            scene.masks.append(((x1 <= x) & (x < x2) & (y1 <= y) & (y < y2)).to(device))
        return scene

    def targets(self, with_masks: bool) -> list[Target]:
        """As detkit takes them."""
        objects = zip(self.boxes, self.labels, self.masks, strict=True)
        return [
            Target(boxes=boxes, labels=labels, masks=masks if with_masks else None) for boxes, labels, masks in objects
        ]

    def torchvision_targets(self) -> list[dict[str, Tensor]]:
        """As torchvision takes them, where label 0 is background."""
        objects = zip(self.boxes, self.labels, self.masks, strict=True)
        return [{"boxes": boxes, "labels": labels + 1, "masks": masks.byte()} for boxes, labels, masks in objects]


@dataclass(frozen=True)
class Profile:
    """Of one step on a GPU."""

    busy: float  # the share of the time
    launches: float
    waits: float


@dataclass(frozen=True)
class Measurement:
    """Medians in seconds for one batch; a ratio of 2 means half of torchvision's time."""

    name: str
    mode: str
    batch_size: int
    seconds: float
    torchvision_seconds: float
    ratio: float
    repetitions: int
    profile: Profile | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add those of `benchmark`."""
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where to run (default: cpu)")
    parser.add_argument("--threads", type=int, default=1, help="number of threads of each program (default: 1)")
    parser.add_argument("--batch_size", type=int, default=8, help="images per step (default: 8)")
    parser.add_argument("--repetitions", type=int, default=11, help="steps per model (default: 11)")
    parser.add_argument(
        "--dtype",
        choices=["float32", "bfloat16", "float16"],
        default="bfloat16",
        help="of autocast (default: bfloat16)",
    )
    parser.add_argument("--only", default="", help="run only the models whose names contain this")


def benchmark(
    device: str, threads: int, batch_size: int, repetitions: int, dtype: str, only: str, out: Path | None
) -> None:
    """Measure all models whose name contains `only`, print a table and write JSON to `out`."""
    torch.set_num_threads(threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    names = [name for name in MODELS if only in name]
    measurements = [
        one
        for name in track(names, "measuring", transient=True)
        for one in measure(name, device, batch_size, repetitions, dtype)
    ]
    Console().print(table(measurements, device, dtype))
    if out is not None:
        device_name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
        write_record(out, device_name, [asdict(one) for one in measurements], dtype=dtype)


def measure(name: str, device: str, batch_size: int, repetitions: int, dtype: str) -> Iterator[Measurement]:
    """Training and prediction of a model and its counterpart."""
    torch.manual_seed(0)
    theirs = torchvision.models.get_model(name, weights=None, weights_backbone=None).to(device)
    ours = cast(Detector, from_torchvision(name, theirs.state_dict()))
    ours = ours.to(device).to(memory_format=torch.channels_last)
    scene = Scene.random(batch_size, device)
    precision = autocast(device, dtype)
    for mode in MODES:
        runs = our_step(ours, scene, mode, precision), their_step(theirs, scene, mode, precision)
        for run in runs:
            for _ in range(WARM_UP_STEPS if device == "cuda" else 1):
                run()
        times = [(seconds(runs[0], device), seconds(runs[1], device)) for _ in range(repetitions)]
        ours_median, theirs_median = (statistics.median(side) for side in zip(*times, strict=True))
        ratio = statistics.median(theirs / ours for ours, theirs in times)
        profiled = profiled_step(runs[0], ours_median) if device == "cuda" else None
        yield Measurement(name, mode, batch_size, ours_median, theirs_median, ratio, repetitions, profiled)


def our_step(model: Detector, scene: Scene, mode: str, precision: Callable[[], Any]) -> Callable[[], object]:
    if mode == "predict":
        return prediction(model.eval(), scene.images, precision)
    targets = scene.targets(with_masks=any("mask" in module for module, _ in model.named_modules()))
    return training_step(model.train(), lambda: model(scene.images, targets), precision)


def their_step(model: nn.Module, scene: Scene, mode: str, precision: Callable[[], Any]) -> Callable[[], object]:
    images = [image.float() / 255 for image in scene.images]
    if mode == "predict":
        return prediction(model.eval(), images, precision)
    targets = scene.torchvision_targets()
    return training_step(model.train(), lambda: model(images, targets), precision)


def prediction(model: nn.Module, images: Sequence[Tensor], precision: Callable[[], Any]) -> Callable[[], object]:
    def step() -> object:
        model.eval()
        with torch.inference_mode(), precision():
            return model(images)

    return step


def training_step(
    model: nn.Module, losses: Callable[[], dict[str, Tensor]], precision: Callable[[], Any]
) -> Callable[[], object]:
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-5, momentum=0.9)

    def step() -> None:
        model.train()
        optimizer.zero_grad(set_to_none=True)
        with precision():
            loss = torch.stack(list(losses().values())).sum()
        loss.backward()
        optimizer.step()

    return step


def autocast(device: str, dtype: str) -> Callable[[], Any]:
    """What a step runs in."""
    if dtype == "float32":
        return contextlib.nullcontext
    return lambda: torch.autocast(device, dtype=getattr(torch, dtype))


def seconds(run: Callable[[], object], device: str) -> float:
    """Until the device is done."""
    synchronize(device)
    start = time.perf_counter()
    run()
    synchronize(device)
    return time.perf_counter() - start


def synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def profiled_step(run: Callable[[], object], duration: float) -> Profile:
    """What a step of this duration does on the GPU."""
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        for _ in range(PROFILED_STEPS):
            run()
    return profile_of(
        [(event.name, event.device_type, event.time_range.elapsed_us()) for event in profiler.events()], duration
    )


def profile_of(events: Sequence[tuple[str, Any, float]], duration: float) -> Profile:
    """Events are names, where they are, and microseconds."""
    on_cuda = torch.autograd.DeviceType.CUDA
    busy = sum(microseconds for _, where, microseconds in events if where == on_cuda) / 1e6
    calls = [name for name, where, _ in events if where != on_cuda]
    launches = sum(name.startswith(("cudaLaunchKernel", "cuLaunchKernel")) for name in calls)
    waits = sum("Synchronize" in name for name in calls)
    return Profile(busy / PROFILED_STEPS / duration, launches / PROFILED_STEPS, waits / PROFILED_STEPS)


def table(measurements: Sequence[Measurement], device: str, dtype: str) -> Table:
    versions = f"detkit ({ops.backend()}) and torchvision {torchvision.__version__}"
    result = Table(title=f"{versions}, {device}, {dtype}")
    for column in ("model", "step", "images/s", "torchvision's", "times faster", "GPU busy", "launches", "waits"):
        result.add_column(column, justify="left" if column in ("model", "step") else "right")
    result.add_column("batch", justify="right")
    for one in measurements:
        rates = [f"{one.batch_size / duration:.3g}" for duration in (one.seconds, one.torchvision_seconds)]
        on_gpu = ["", "", ""]
        if one.profile is not None:
            on_gpu = [f"{one.profile.busy:.0%}", f"{one.profile.launches:.0f}", f"{one.profile.waits:.0f}"]
        result.add_row(one.name, one.mode, *rates, f"{one.ratio:.2f}", *on_gpu, str(one.batch_size))
    return result
