"""When each part of a detector runs, on a GPU's stream or a CPU.

The parts of the time: `proposals` is selective search, `preprocess` resizing, normalizing and padding, `backbone` the
backbone and its neck, `head` the layers of the heads and the crops of regions, and `decoding` all the rest: boxes and
scores from their outputs, suppression (also of an RPN's proposals), pasting masks, mapping to the given image. On CUDA
times are measured by events on the stream; with one thread on the CPU they are CPU time.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from detkit.models import Detector

PARTS = ("proposals", "preprocess", "backbone", "head", "decoding")


class Stopwatch:
    """Timestamps and the seconds between them, on a GPU's stream or a CPU."""

    def __init__(self, device: str, threads: int) -> None:
        self.on_cuda = device == "cuda"
        self.clock = time.process_time if threads == 1 else time.perf_counter

    def now(self) -> Any:
        """The current timestamp."""
        if not self.on_cuda:
            return self.clock()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self, start: Any, end: Any) -> float:
        """From one timestamp to another; a GPU must have passed both."""
        return start.elapsed_time(end) / 1e3 if self.on_cuda else end - start

    def time(self, run: Callable[[], object]) -> float:
        """The seconds of a call."""
        start = self.now()
        run()
        end = self.now()
        if self.on_cuda:
            torch.cuda.synchronize()
        return self.seconds(start, end)


class PartTimer:
    """Records when each part of a detector runs; what runs inside another part counts as that part."""

    def __init__(self, model: Detector, stopwatch: Stopwatch) -> None:
        self.stopwatch = stopwatch
        self.spans: list[tuple[str, Any, Any]] = []
        self.depth = 0
        self.hooks: list[Any] = []
        for part, names in {
            "preprocess": ["preprocess"],
            "backbone": ["backbone", "neck"],
            "head": ["head", "rpn", "region_pool", "box_head", "branches"],
        }.items():
            # Inner layers too: a cascade and an R-CNN call those of their box head one by one.
            parts = (getattr(model, name).modules() for name in names if getattr(model, name, None) is not None)
            for module in itertools.chain.from_iterable(parts):
                self.watch(part, module)
        search: Any = getattr(model, "proposals", None)
        if search is not None:
            timed: Any = self.timed("proposals", search)
            model.proposals = timed

    def watch(self, part: str, module: nn.Module) -> None:
        """Record the calls of a module."""
        self.hooks.append(module.register_forward_pre_hook(lambda *_: self.enter(part)))
        self.hooks.append(module.register_forward_hook(lambda *_: self.leave()))

    def timed(self, part: str, run: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """A function whose calls are recorded."""

        def recorded(argument: Any) -> Any:
            self.enter(part)
            result = run(argument)
            self.leave()
            return result

        return recorded

    def remove(self) -> None:
        """End the recording of modules, some of which a copy shares with its model."""
        for hook in self.hooks:
            hook.remove()

    def enter(self, part: str) -> None:
        """A part begins."""
        if self.depth == 0:
            self.spans.append((part, self.stopwatch.now(), None))
        self.depth += 1

    def leave(self) -> None:
        """A part ends."""
        self.depth -= 1
        if self.depth == 0:
            part, start, _ = self.spans[-1]
            self.spans[-1] = part, start, self.stopwatch.now()

    def take(self, total: float) -> dict[str, float]:
        """The seconds of each part since the last time, of `total`; what is left is decoding."""
        seconds = dict.fromkeys(PARTS, 0.0)
        for part, start, end in self.spans:
            seconds[part] += self.stopwatch.seconds(start, end)
        self.spans = []
        return seconds | {"decoding": total - sum(seconds.values())}
