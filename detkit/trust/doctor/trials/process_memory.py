"""The memory of this process, on the CPU or a GPU: what it holds, its peak, and how much more it may take."""

from __future__ import annotations

import ctypes
import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

MIB = 2**20
_PROC, _CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")
_NO_LIMIT = 2**60  # numbers of cgroup v1 above which there is no limit


def release_memory() -> None:
    """Return to the system what is not in use, so that it does not hide what a step takes."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        return  # of glibc alone


@contextmanager
def peak_memory(device: torch.device) -> Iterator[list[int]]:
    """The most bytes that this process holds on a device within; the list has the number at the end."""
    if device.type == "cuda":
        peak = [0]
        torch.cuda.reset_peak_memory_stats(device)
        yield peak
        torch.cuda.synchronize(device)
        peak[0] = torch.cuda.max_memory_allocated(device)
        return
    peak, done = [_resident()], threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            peak[0] = max(peak[0], _resident())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()
        peak[0] = max(peak[0], _resident())


def held_memory(device: torch.device) -> int:
    """The bytes that this process holds on a device."""
    return torch.cuda.memory_reserved(device) if device.type == "cuda" else _resident()


def free_memory(device: torch.device) -> int:
    """The bytes that are free on a device: of main memory what the system and the limits of its container leave."""
    if device.type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
        return free
    return min([_available(), *_left_by_cgroups()])


def _resident() -> int:
    """The bytes of memory that this process occupies; 0 where the system does not say."""
    try:
        return int((_PROC / "self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0


def _available() -> int:
    try:
        lines = (_PROC / "meminfo").read_text().splitlines()
    except OSError:
        return 2**63 - 1
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")), 2**63 - 1)


def _left_by_cgroups() -> Iterator[int]:
    """What each limit of memory leaves: of the groups of this process, version 1 or 2, and of those above them."""
    try:
        entries = [line.split(":", 2) for line in (_PROC / "self/cgroup").read_text().splitlines()]
    except OSError:
        return
    for _, controllers, path in entries:
        if controllers == "":  # version 2
            yield from _left_below(_CGROUPS, path, "memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            root = _CGROUPS / "memory"
            yield from _left_below(root, path, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def _left_below(root: Path, path: str, limit: str, usage: str, cache: str) -> Iterator[int]:
    group = root / path.strip("/")
    for folder in dict.fromkeys([group, *group.parents, root]):  # within a container the path may be that of the host
        if folder != root and root not in folder.parents:
            continue
        most, used = _number(folder / limit), _number(folder / usage)
        if most is not None and used is not None and most < _NO_LIMIT:
            yield max(0, most - used + _cached(folder / "memory.stat", cache))


def _cached(file: Path, name: str) -> int:
    """The bytes of files that the system would drop first."""
    try:
        words = [line.split() for line in file.read_text().splitlines()]
    except OSError:
        return 0
    return next((int(word[1]) for word in words if word[0] == name), 0)


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):  # "max", or there is none
        return None
