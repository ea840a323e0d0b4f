"""Measures detkit against torchvision in the same process, with the same number of threads.

    python tools/benchmark.py ops --threads 1 --out ops.json
    python tools/benchmark.py ops --device cuda
    python tools/benchmark.py coco --iou_type segm
    python tools/benchmark.py dense
    python tools/benchmark.py proposals --root ../shared/data/bccd
    python tools/benchmark.py models --only yolo

Every case is run by both in turns, so that what else the machine does falls on both alike. The numbers are medians
over the repetitions, the spread is the range that the middle half of the ratios covers. With one thread the time is
the processor's, which other programs don't lengthen; with more it is the time that passes, and what the threads gain
over one is shown too. On CUDA it is the time until the device is done, launches included; beside it stand the device's
own time (the same kernels in a CUDA graph), the time that its memory's bandwidth sets for what must be read and
written, and the peak of memory.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torchvision
from pycocotools import mask as coco_masks
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor
from torchvision.models.detection.roi_heads import paste_masks_in_image

from detkit import ops
from detkit.ops.soft_nms import soft_nms_reference

SHORTEST_SAMPLE = 0.005  # seconds; shorter calls are repeated within a sample
LONG_RUN = 10  # seconds; a case in which one run of the other side takes longer gets fewer samples
SAMPLES_OF_LONG_RUNS = 3
PYRAMID_SCALES = (1 / 4, 1 / 8, 1 / 16, 1 / 32)


@dataclass(frozen=True)
class Case:
    """One piece of work, as detkit and as torchvision do it."""

    name: str
    ours: Callable[[], object]
    theirs: Callable[[], object]
    bytes_moved: int | None = None  # what must be read and written at least, where a bound is of interest


@dataclass(frozen=True)
class Measurement:
    """Times in seconds; a ratio of 2 means that detkit takes half of torchvision's time."""

    name: str
    ours: float
    theirs: float
    ratio: float
    ratio_low: float
    ratio_high: float
    repetitions: int
    gain: float | None = None  # how many times faster detkit is on all threads than on one
    device: DeviceMeasurement | None = None


@dataclass(frozen=True)
class DeviceMeasurement:
    """What only a GPU tells: peaks of memory in bytes and, where a bound is of interest, times in seconds."""

    our_memory: int
    their_memory: int
    kernels: float | None = None
    bound: float | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("ops", help="the operations of detkit.ops")
    command.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where to run (default: cpu)")
    command.add_argument("--threads", type=int, default=1, help="threads of either side (default: 1)")
    command.add_argument(
        "--repetitions",
        type=int,
        default=11,
        help=f"samples per case, at least 10 (default: 11), but {SAMPLES_OF_LONG_RUNS} of runs over {LONG_RUN} s",
    )
    command.add_argument("--only", default="", help="run the cases whose name contains this")
    command.add_argument("--out", type=Path, help="also write the measurements to this JSON file")
    coco = commands.add_parser("coco", help="COCO evaluation, from files to numbers, beside what else is installed")
    coco.add_argument(
        "--iou_type", choices=["bbox", "segm", "keypoints"], default="bbox", help="what to compare (default: bbox)"
    )
    coco.add_argument("--repetitions", type=int, default=3, help="processes per program (default: 3)")
    coco.add_argument("--out", type=Path, help="also write the measurements to this JSON file")
    dense = commands.add_parser("dense", help="every window of an image in one pass, beside crops one by one")
    dense.add_argument("--threads", type=int, default=2, help="threads of either side (default: 2)")
    dense.add_argument("--repetitions", type=int, default=3, help="dense passes per net (default: 3)")
    dense.add_argument("--out", type=Path, help="also write the measurements to this JSON file")
    proposals = commands.add_parser("proposals", help="selective search, beside OpenCV contrib's where it is installed")
    proposals.add_argument("--root", type=Path, required=True, help="a data set in COCO format with a test split")
    proposals.add_argument("--modes", nargs="+", choices=["fast", "quality"], default=["fast", "quality"])
    proposals.add_argument("--images", type=int, default=40, help="images of it, and drawn ones (default: 40)")
    proposals.add_argument("--out", type=Path, help="also write the measurements to this JSON file")
    models = commands.add_parser("models", help="whole detectors, their parts, and torchvision's twins")
    models.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where to run (default: cpu)")
    models.add_argument("--threads", type=int, default=1, help="threads of either side (default: 1)")
    models.add_argument("--batch_size", type=int, default=1, help="images at once (default: 1)")
    models.add_argument("--repetitions", type=int, default=5, help="runs per detector (default: 5)")
    models.add_argument("--longest-case", type=float, default=60, help="seconds after which fewer do (default: 60)")
    models.add_argument("--only", default="", help="run the detectors whose name contains this")
    models.add_argument("--out", type=Path, help="also write the measurements to this JSON file")
    arguments = parser.parse_args()
    if arguments.command == "models":
        import benchmark_models

        options = vars(arguments)
        options["longest"] = options.pop("longest_case")
        del options["command"]
        benchmark_models.benchmark(**options)
        return
    if arguments.command == "dense":
        import benchmark_dense

        benchmark_dense.benchmark(arguments.threads, arguments.repetitions, arguments.out)
        return
    if arguments.command == "proposals":
        import benchmark_proposals

        benchmark_proposals.benchmark(arguments.root, arguments.modes, arguments.images, arguments.out)
        return
    if arguments.command == "coco":
        import benchmark_coco  # beside this file, which is where a script's modules are found

        benchmark_coco.benchmark(arguments.iou_type, arguments.repetitions, arguments.out)
        return
    if arguments.repetitions < 10:
        parser.error("--repetitions must be at least 10")

    torch.set_num_threads(arguments.threads)
    torch.set_default_device(arguments.device)
    cases = [case for case in op_cases() if arguments.only in case.name]
    clock = time.process_time if arguments.threads == 1 else time.perf_counter
    if arguments.device == "cuda":
        clock = device_clock
    measurements = [measure(case, arguments.repetitions, clock) for case in track(cases, transient=True)]
    Console().print(table(measurements, arguments.threads))
    if arguments.out:
        write_json(arguments.out, measurements, arguments.threads)


def measure(case: Case, repetitions: int, clock: Callable[[], float]) -> Measurement:
    """Both sides in turns, after one run of each that is not counted."""
    first = [seconds(run, 1, clock) for run in (case.ours, case.theirs)]
    calls = [1 + int(SHORTEST_SAMPLE / duration) for duration in first]
    times = []
    for _ in range(SAMPLES_OF_LONG_RUNS if first[1] > LONG_RUN else repetitions):
        times.append((seconds(case.ours, calls[0], clock), seconds(case.theirs, calls[1], clock)))
    ratios = [theirs / ours for ours, theirs in times]
    low, _, high = statistics.quantiles(ratios, n=4)
    ours, theirs = (statistics.median(side) for side in zip(*times, strict=True))
    on_device = measure_device(case) if clock is device_clock else None
    gain = gain_of_threads(case.ours, calls[0], repetitions) if clock is time.perf_counter else None
    return Measurement(case.name, ours, theirs, theirs / ours, low, high, len(times), gain, on_device)


def gain_of_threads(run: Callable[[], object], calls: int, repetitions: int) -> float:
    """How many times faster a call is on the threads of now than on one: medians of both by turns."""
    threads, times = torch.get_num_threads(), []
    for _ in range(repetitions):
        torch.set_num_threads(1)
        alone = seconds(run, calls, time.perf_counter)
        torch.set_num_threads(threads)
        times.append((alone, seconds(run, calls, time.perf_counter)))
    alone, together = (statistics.median(side) for side in zip(*times, strict=True))
    return alone / together


def measure_device(case: Case) -> DeviceMeasurement:
    memory = peak_memory(case.ours), peak_memory(case.theirs)
    if case.bytes_moved is None:
        return DeviceMeasurement(*memory)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        case.ours()
    return DeviceMeasurement(*memory, seconds(graph.replay, 100, device_clock), case.bytes_moved / bandwidth())


def device_clock() -> float:
    """The time when the device has done all that it was given."""
    torch.cuda.synchronize()
    return time.perf_counter()


def peak_memory(run: Callable[[], object]) -> int:
    """The bytes that a call allocates at most beside what is there already."""
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    run()
    return torch.cuda.max_memory_allocated() - before


@functools.cache
def bandwidth() -> float:
    """The bytes per second that the device reads and writes when it copies."""
    source = torch.empty(2**30, dtype=torch.uint8)
    target = torch.empty_like(source)
    target.copy_(source)
    return 2 * source.numel() / seconds(lambda: target.copy_(source), 20, device_clock)


def seconds(run: Callable[[], object], calls: int, clock: Callable[[], float]) -> float:
    start = clock()
    for _ in range(calls):
        run()
    return (clock() - start) / calls


def table(measurements: list[Measurement], threads: int) -> Table:
    result = Table(title=f"detkit ({ops.backend()}) and torchvision {torchvision.__version__}, {threads} threads")
    for column in ("operation", "detkit ms", "torchvision ms", "times faster", "spread", "runs"):
        result.add_column(column, justify="left" if column == "operation" else "right")
    if any(one.gain for one in measurements):
        result.add_column("gain of threads", justify="right")
    if any(one.device for one in measurements):
        for column in ("kernels ms", "bound ms", "of bound", "detkit MiB", "torchvision MiB"):
            result.add_column(column, justify="right")
    for one in measurements:
        spread = f"{one.ratio_low:.1f} - {one.ratio_high:.1f}"
        times = (f"{one.ours * 1e3:.3f}", f"{one.theirs * 1e3:.3f}", f"{one.ratio:.1f}")
        gain = [f"{one.gain:.2f}"] if one.gain else []
        result.add_row(one.name, *times, spread, str(one.repetitions), *gain, *device_cells(one.device))
    return result


def device_cells(device: DeviceMeasurement | None) -> list[str]:
    if device is None:
        return []
    memory = [f"{size / 2**20:.1f}" for size in (device.our_memory, device.their_memory)]
    if device.kernels is None or device.bound is None:
        return ["", "", "", *memory]
    times = [f"{device.kernels * 1e3:.4f}", f"{device.bound * 1e3:.4f}", f"{device.bound / device.kernels:.0%}"]
    return [*times, *memory]


def write_json(path: Path, measurements: list[Measurement], threads: int) -> None:
    record = {
        "device": torch.cuda.get_device_name() if torch.get_default_device().type == "cuda" else processor(),
        "threads": threads,
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "backend": ops.backend(),
        "measurements": [asdict(one) for one in measurements],
    }
    temporary = path.with_name(path.name + ".partial")
    temporary.write_text(json.dumps(record, indent=2) + "\n")
    os.replace(temporary, path)


def processor() -> str:
    """The processor's name as the system gives it."""
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor()


def op_cases() -> list[Case]:
    cases = [*nms_cases(), *soft_nms_cases(), *iou_cases(), *roi_align_cases(), *roi_pool_cases()]
    return cases + mask_cases() if torch.get_default_device().type == "cpu" else cases


def nms_cases() -> list[Case]:
    cases = []
    for layout in (spread_boxes, clustered_boxes):
        for count in (1_000, 10_000, 100_000):
            boxes, scores = layout(count), torch.rand(count)
            kept = len(ops.nms(boxes, scores, 0.5))
            cases.append(
                Case(
                    f"nms, {count} {layout.__name__.split('_')[0]} boxes ({kept} stay)",
                    lambda boxes=boxes, scores=scores: ops.nms(boxes, scores, 0.5),
                    lambda boxes=boxes, scores=scores: torchvision.ops.nms(boxes, scores, 0.5),
                )
            )
    for count in (1_000, 10_000, 100_000):
        boxes, scores, labels = spread_boxes(count), torch.rand(count), torch.randint(0, 80, (count,))
        cases.append(
            Case(
                f"batched_nms, {count} boxes of 80 classes",
                lambda boxes=boxes, scores=scores, labels=labels: ops.batched_nms(boxes, scores, labels, 0.5),
                lambda boxes=boxes, scores=scores, labels=labels: torchvision.ops.batched_nms(
                    boxes, scores, labels, 0.5
                ),
            )
        )
    return cases


def soft_nms_cases() -> list[Case]:
    """torchvision has no soft-NMS: the other side is the reference in plain torch."""
    boxes, scores = clustered_boxes(1_000), torch.rand(1_000)
    rule = (0.3, 0.5, "gaussian", 0.001)
    return [
        Case(
            "soft_nms, 1000 clustered boxes (against plain torch)",
            lambda: ops.soft_nms(boxes, scores, *rule),
            lambda: soft_nms_reference(boxes, scores, None, *rule),
        )
    ]


def iou_cases() -> list[Case]:
    cases = []
    on_cuda = torch.get_default_device().type == "cuda"
    for count1, count2 in ((1_000, 1_000), (10_000, 1_000), *([(10_000, 10_000)] if on_cuda else [])):
        boxes1, boxes2 = spread_boxes(count1), spread_boxes(count2)
        cases.append(
            Case(
                f"box_iou, {count1} x {count2}",
                lambda boxes1=boxes1, boxes2=boxes2: ops.box_iou(boxes1, boxes2),
                lambda boxes1=boxes1, boxes2=boxes2: torchvision.ops.box_iou(boxes1, boxes2),
                bytes_moved=16 * (count1 + count2) + 4 * count1 * count2,
            )
        )
    return cases


def roi_align_cases() -> list[Case]:
    return [*region_cases("roi_align", (1 / 16, 2), regions(512, 800, 1088)), *pyramid_cases()]


def roi_pool_cases() -> list[Case]:
    return region_cases("roi_pool", (1 / 16,), regions(512, 800, 1088))


def region_cases(name: str, sampling: tuple, rois: Tensor) -> list[Case]:
    """An op that crops regions from one map, without and with its backward."""
    cases = []
    ours, theirs = getattr(ops, name), getattr(torchvision.ops, name)
    for memory_format, label in ((torch.contiguous_format, ""), (torch.channels_last, ", channels-last")):
        features = torch.randn(1, 256, 50, 68).to(memory_format=memory_format)
        learned = features.clone(memory_format=memory_format).requires_grad_()
        for size in (7, 14):
            arguments = (rois, size, *sampling)
            title = f"{name} {size} x {size}, 256 x 50 x 68, {len(rois)} regions{label}"
            map_bytes, crop_bytes = 4 * features.numel(), 4 * len(rois) * features.shape[1] * size**2
            cases.append(
                Case(
                    title,
                    lambda maps=features, arguments=arguments: ours(maps, *arguments),
                    lambda maps=features, arguments=arguments: theirs(maps, *arguments),
                    bytes_moved=map_bytes + crop_bytes,
                )
            )
            cases.append(
                Case(
                    title + ", with backward",
                    lambda maps=learned, arguments=arguments: backward(ours(maps, *arguments), maps),
                    lambda maps=learned, arguments=arguments: backward(theirs(maps, *arguments), maps),
                    bytes_moved=3 * map_bytes + 2 * crop_bytes,  # the gradient of the map is set to zero, and written
                )
            )
    return cases


def pyramid_cases() -> list[Case]:
    maps = [torch.randn(1, 256, int(800 * scale), int(1088 * scale)).requires_grad_() for scale in PYRAMID_SCALES]
    rois = regions(512, 800, 1088)
    pooler = torchvision.ops.MultiScaleRoIAlign([str(level) for level in range(4)], 7, 2)

    def ours() -> Tensor:
        return ops.multilevel_roi_align(maps, rois, 7, PYRAMID_SCALES, 2)

    def theirs() -> Tensor:
        return pooler({str(level): one for level, one in enumerate(maps)}, [rois[:, 1:]], [(800, 1088)])

    label = "multilevel_roi_align 7 x 7, 4 levels of 800 x 1088 pixels, 512 regions"
    return [
        Case(label, torch.no_grad()(ours), torch.no_grad()(theirs)),
        Case(label + ", with backward", lambda: backward(ours(), *maps), lambda: backward(theirs(), *maps)),
    ]


def mask_cases() -> list[Case]:
    """Masks of objects of 50 to 400 pixels in images of 800 x 1200, on the CPU alone."""
    masks, boxes, size = disc_masks(100, 28), objects(100, 800, 1200), (800, 1200)
    images = ops.paste_masks(masks, boxes, size)
    runs = ops.masks_to_rle(images)
    encoded = runs.to_coco()

    def pasted_by_torchvision() -> list[dict]:
        return encoded_by_pycocotools((paste_masks_in_image(masks[:, None], boxes, size) > 0.5)[:, 0])

    label = "100 masks of 800 x 1200"
    return [
        Case(
            "paste_masks_to_rle, 100 masks of 28 x 28 in 800 x 1200",
            lambda: ops.paste_masks_to_rle(masks, boxes, size).to_coco(),
            pasted_by_torchvision,
        ),
        Case(
            f"masks_to_rle, {label} (pycocotools)",
            lambda: ops.masks_to_rle(images).to_coco(),
            lambda: encoded_by_pycocotools(images),
        ),
        Case(
            f"rle_to_masks, {label} (pycocotools)",
            lambda: ops.rle_to_masks(ops.RunLengths.from_coco(encoded)),
            lambda: coco_masks.decode(encoded),
        ),
    ]


def encoded_by_pycocotools(images: Tensor) -> list[dict]:
    return [coco_masks.encode(np.asfortranarray(image)) for image in images.numpy().view(np.uint8)]


def disc_masks(count: int, side: int) -> Tensor:
    """Probabilities of discs, a little noisy."""
    distance = torch.linspace(-1, 1, side).square()
    disc = (distance[:, None] + distance < 0.8).float()
    return disc * 0.8 + torch.rand(count, side, side) * 0.2


def objects(count: int, height: int, width: int) -> Tensor:
    """Boxes with sides from 50 to 400 pixels, anywhere in the image."""
    sides = 50 + torch.rand(count, 2) * 350
    corner = torch.rand(count, 2) * (torch.tensor([width, height]) - sides)
    return torch.cat([corner, corner + sides], 1)


def backward(output: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(output, inputs, torch.ones_like(output))


def spread_boxes(count: int) -> Tensor:
    """Small boxes all over an image of 1000 x 1000 pixels, of which most stay."""
    corner = torch.rand(count, 2) * 1000
    return torch.cat([corner, corner + 1 + torch.rand(count, 2) * 9], 1)


def clustered_boxes(count: int) -> Tensor:
    """Jittered boxes around 50 objects of 30 to 200 pixels, of which few stay."""
    corner = torch.rand(50, 2) * 800
    objects = torch.cat([corner, corner + 30 + torch.rand(50, 2) * 170], 1)
    return objects[torch.randint(0, 50, (count,))] + torch.randn(count, 4) * 6


def regions(count: int, height: int, width: int) -> Tensor:
    """Regions of one image with sides from 16 to 512 pixels, evenly over the octaves."""
    sides = 16 * 2 ** (torch.rand(count, 2) * 5)
    corner = torch.rand(count, 2) * (torch.tensor([width, height]) - sides).clamp(min=0)
    return torch.cat([torch.zeros(count, 1), corner, corner + sides], 1)


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
