"""Measure detkit against torchvision in the same process, with the same number of threads.

    python tools/benchmark.py ops --threads 1 --out ops.json
    python tools/benchmark.py ops --device cuda
    python tools/benchmark.py coco --iou_type segm
    python tools/benchmark.py dense
    python tools/benchmark.py proposals --root ../shared/data/bccd
    python tools/benchmark.py models --only yolo
    python tools/benchmark.py steps --device cuda
    python tools/benchmark.py loader --root ../shared/data/bccd

Both sides of a case run interleaved, so that other load on the machine affects both alike. The numbers are medians over
the repetitions; the spread is the interquartile range of the ratios. With one thread, time is CPU time, which other
programs do not lengthen; with more it is wall-clock time, and the speed-up over one thread is shown too. On CUDA it is
the time until the device is done, launches included; next to it are the device's own time (the same kernels in a CUDA
graph), the lower bound that its memory bandwidth sets for what must be read and written, and the peak of memory.
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

import torch
import torchvision
from rich.console import Console
from rich.progress import track
from rich.table import Table

from detkit import ops

SHORTEST_SAMPLE = 0.005  # seconds; shorter calls are repeated within a sample
LONG_RUN = 10  # seconds; a case in which one run of the other side takes longer gets fewer samples
SAMPLES_OF_LONG_RUNS = 3


@dataclass(frozen=True)
class Case:
    """The same work as done by detkit and by torchvision."""

    name: str
    ours: Callable[[], object]
    theirs: Callable[[], object]
    bytes_moved: int | None = None  # the least that must be read and written, where a lower bound is shown


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
    gain: float | None = None  # detkit's speed-up on all threads over one
    device: DeviceMeasurement | None = None


@dataclass(frozen=True)
class DeviceMeasurement:
    """Measured on a GPU alone: peaks of memory in bytes and, where a lower bound is shown, times in seconds."""

    our_memory: int
    their_memory: int
    kernels: float | None = None
    bound: float | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("ops", help="the operations of detkit.ops")
    command.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where to run (default: cpu)")
    command.add_argument("--threads", type=int, default=1, help="number of threads of each program (default: 1)")
    command.add_argument(
        "--repetitions",
        type=int,
        default=11,
        help=f"samples per case, at least 10 (default: 11), but {SAMPLES_OF_LONG_RUNS} of runs over {LONG_RUN} s",
    )
    command.add_argument("--only", default="", help="run only the cases whose names contain this")
    command.add_argument("--out", type=Path, help="also write the measurements to this JSON file")
    coco = commands.add_parser(
        "coco", help="COCO evaluation, from files to metrics, compared with other installed programs"
    )
    coco.add_argument(
        "--iou_type", choices=["bbox", "segm", "keypoints"], default="bbox", help="what to compare (default: bbox)"
    )
    coco.add_argument("--repetitions", type=int, default=3, help="processes per program (default: 3)")
    coco.add_argument("--out", type=Path, help="also write the measurements to this JSON file")
    dense = commands.add_parser(
        "dense", help="dense evaluation of all windows of an image, compared with one crop at a time"
    )
    dense.add_argument("--threads", type=int, default=2, help="number of threads of each program (default: 2)")
    dense.add_argument("--repetitions", type=int, default=3, help="dense passes per network (default: 3)")
    dense.add_argument("--out", type=Path, help="also write the measurements to this JSON file")
    proposals = commands.add_parser(
        "proposals", help="selective search, compared with OpenCV contrib's where it is installed"
    )
    proposals.add_argument("--root", type=Path, required=True, help="a data set in COCO format with a test split")
    proposals.add_argument("--modes", nargs="+", choices=["fast", "quality"], default=["fast", "quality"])
    proposals.add_argument(
        "--images", type=int, default=40, help="number of images of the data set, and of drawn ones (default: 40)"
    )
    proposals.add_argument("--out", type=Path, help="also write the measurements to this JSON file")
    models = commands.add_parser("models", help="whole detectors, their parts, and torchvision's counterparts")
    models.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where to run (default: cpu)")
    models.add_argument("--threads", type=int, default=1, help="number of threads of each program (default: 1)")
    models.add_argument("--batch_size", type=int, default=1, help="images per forward pass (default: 1)")
    models.add_argument("--repetitions", type=int, default=5, help="runs per detector (default: 5)")
    models.add_argument(
        "--longest-case", type=float, default=60, help="seconds after which fewer runs are enough (default: 60)"
    )
    models.add_argument("--only", default="", help="run only the detectors whose names contain this")
    models.add_argument("--out", type=Path, help="also write the measurements to this JSON file")
    steps = commands.add_parser("steps", help="training steps and predictions of whole batches, beside torchvision's")
    steps.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where to run (default: cpu)")
    steps.add_argument("--threads", type=int, default=1, help="number of threads of each program (default: 1)")
    steps.add_argument("--batch_size", type=int, default=8, help="images per step (default: 8)")
    steps.add_argument("--repetitions", type=int, default=11, help="steps per model (default: 11)")
    steps.add_argument(
        "--dtype",
        choices=["float32", "bfloat16", "float16"],
        default="bfloat16",
        help="of autocast (default: bfloat16)",
    )
    steps.add_argument("--only", default="", help="run only the models whose names contain this")
    steps.add_argument("--out", type=Path, help="also write the measurements to this JSON file")
    loader = commands.add_parser(
        "loader", help="the training loader, compared with OpenCV's decoding alone and torchvision's transforms v2"
    )
    loader.add_argument("--root", type=Path, required=True, help="a data set in a format of detkit's")
    loader.add_argument("--rounds", type=int, default=15, help="turns of each side (default: 15)")
    loader.add_argument("--out", type=Path, help="also write the measurements to this JSON file")
    arguments = parser.parse_args()
    if arguments.command == "steps":
        import benchmark_steps

        options = vars(arguments)
        del options["command"]
        benchmark_steps.benchmark(**options)
        return
    if arguments.command == "loader":
        import benchmark_loader

        benchmark_loader.benchmark(arguments.root, arguments.rounds, arguments.out)
        return
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
        import benchmark_coco  # next to this file, which is where a script's modules are found

        benchmark_coco.benchmark(arguments.iou_type, arguments.repetitions, arguments.out)
        return
    if arguments.repetitions < 10:
        parser.error("--repetitions must be at least 10")

    torch.set_num_threads(arguments.threads)
    torch.set_default_device(arguments.device)
    import benchmark_ops

    cases = [case for case in benchmark_ops.op_cases() if arguments.only in case.name]
    clock = time.process_time if arguments.threads == 1 else time.perf_counter
    if arguments.device == "cuda":
        clock = device_clock
    measurements = [measure(case, arguments.repetitions, clock) for case in track(cases, transient=True)]
    Console().print(table(measurements, arguments.threads))
    if arguments.out:
        write_json(arguments.out, measurements, arguments.threads)


def measure(case: Case, repetitions: int, clock: Callable[[], float]) -> Measurement:
    """Both sides interleaved, after a warm-up run of each."""
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
    """The speed-up of a call on the current number of threads over one, by medians of interleaved runs."""
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
    """The time when the device has finished its queue."""
    torch.cuda.synchronize()
    return time.perf_counter()


def peak_memory(run: Callable[[], object]) -> int:
    """The peak of bytes that a call allocates."""
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    run()
    return torch.cuda.max_memory_allocated() - before


@functools.cache
def bandwidth() -> float:
    """The bytes per second that the device reads and writes in a copy."""
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
    """The CPU's name as the system gives it."""
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
