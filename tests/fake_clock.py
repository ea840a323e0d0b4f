"""Time that passes only where a test lets it, so that no test depends on what else the machine does."""

from __future__ import annotations


class FakeClock:
    """Stands for the module `time` in a module that measures: two clocks that show the same."""

    def __init__(self) -> None:
        self.now = 0.0
        self.perf_counter = lambda: self.now
        self.process_time = lambda: self.now

    def advance(self, seconds: float) -> None:
        """Let this much time pass."""
        self.now += seconds
