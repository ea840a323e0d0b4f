"""Ending on a signal without losing work."""

from __future__ import annotations

import logging
import signal
import threading
from typing import Any

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """A signal ended the work after it was saved; no error, so that no ``except Exception`` catches it.

    Args:
        signum: the signal.
        saved: what was done and how to go on, for the console.
    """

    def __init__(self, signum: int, saved: str) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}: {saved}")
        self.signum = signum


class SignalListener:
    """Notes the first SIGINT or SIGTERM, to be asked for where work can be saved; a second one ends at once.

    Signals reach the main thread alone; elsewhere nothing is listened to.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self._before: dict[int, Any] = {}

    def start(self) -> None:
        """Listen."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}

    def stop(self) -> None:
        """Leave signals to whoever had them before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, signum: int, frame: Any) -> None:
        if self.signum is not None:
            self.stop()
            raise KeyboardInterrupt
        self.signum = signum
        logger.warning("%s: saving and stopping; once more stops at once", signal.Signals(signum).name)
