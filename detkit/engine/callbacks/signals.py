"""Handling SIGINT and SIGTERM: finish the current step, save, then stop."""

from __future__ import annotations

import logging
import signal
import threading
from typing import Any

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """Raised when a signal ended the work after saving; ``except Exception`` does not catch it.

    Args:
        signum: the signal.
        saved: what was saved and how to continue, for the console.
    """

    def __init__(self, signum: int, saved: str) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}: {saved}")
        self.signum = signum


class SignalListener:
    """Stores the first SIGINT or SIGTERM in `signum`, to be read where work can be saved; a second one stops at once.

    Python delivers signals to the main thread only; in other threads the listener does nothing.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self._before: dict[int, Any] = {}

    def start(self) -> None:
        """Install the handlers."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}

    def stop(self) -> None:
        """Restore the previous handlers."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, signum: int, frame: Any) -> None:
        if self.signum is not None:
            self.stop()
            raise KeyboardInterrupt
        self.signum = signum
        logger.warning("%s: saving and stopping; once more stops at once", signal.Signals(signum).name)
