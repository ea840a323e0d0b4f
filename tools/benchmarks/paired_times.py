"""Two functions that do the same work, timed interleaved in one process.

The numbers are medians over the repetitions; the spread is the interquartile range of the ratios. With one thread, time
is CPU time, which other programs do not lengthen; with more it is wall-clock time, and the speed-up over one thread is
measured too. On CUDA it is the time until the device is done, launches included; next to it are the device's own time
(the same kernels in a CUDA graph), the lower bound that its memory bandwidth sets for what must be read and written,
and the peak of memory.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

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
