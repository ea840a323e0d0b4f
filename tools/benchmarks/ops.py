"""The operations of detkit.ops, timed beside torchvision's and pycocotools'.

    python tools/benchmark.py ops --threads 1 --out ops.json
    python tools/benchmark.py ops --device cuda

What the numbers mean says `benchmarks.paired_times`.
"""

from __future__ import annotations

import argparse
import platform
import time
from dataclasses import asdict
from pathlib import Path

import torch
import torchvision
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.op_cases import op_cases
from benchmarks.paired_times import (
    LONG_RUN,
    SAMPLES_OF_LONG_RUNS,
    DeviceMeasurement,
    Measurement,
    device_clock,
    measure,
)
from benchmarks.record import write_record
from detkit import ops

FEWEST_REPETITIONS = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add those of `benchmark`."""
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where to run (default: cpu)")
    parser.add_argument("--threads", type=int, default=1, help="number of threads of each program (default: 1)")
    parser.add_argument(
        "--repetitions",
        type=enough_repetitions,
        default=11,
        help=f"samples per case, at least {FEWEST_REPETITIONS} (default: 11), "
        f"but {SAMPLES_OF_LONG_RUNS} of runs over {LONG_RUN} s",
    )
    parser.add_argument("--only", default="", help="run only the cases whose names contain this")


def enough_repetitions(text: str) -> int:
    """The number in `text`; argparse refuses too small ones."""
    if int(text) < FEWEST_REPETITIONS:
        raise argparse.ArgumentTypeError(f"must be at least {FEWEST_REPETITIONS}")
    return int(text)


def benchmark(device: str, threads: int, repetitions: int, only: str, out: Path | None) -> None:
    """Measure all cases whose name contains `only`, print a table and write JSON to `out`."""
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    torch.set_default_device(device)
    cases = [case for case in op_cases() if only in case.name]
    clock = time.process_time if threads == 1 else time.perf_counter
    if device == "cuda":
        clock = device_clock
    measurements = [measure(case, repetitions, clock) for case in track(cases, transient=True)]
    Console().print(table(measurements, threads))
    if out:
        write_json(out, measurements, threads)


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
    device = torch.cuda.get_device_name() if torch.get_default_device().type == "cuda" else processor()
    write_record(path, device, [asdict(one) for one in measurements], threads=threads)


def processor() -> str:
    """The CPU's name as the system gives it."""
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor()
