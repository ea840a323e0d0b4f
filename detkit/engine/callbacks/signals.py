"""Handling SIGINT and SIGTERM: finish the current step, save, then stop."""

from __future__ import annotations

import logging
import signal
import threading
import time
from typing import Any

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGINT, signal.SIGTERM)
PATIENCE = 10.0  # seconds


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

    Where a loader gives no batch for `PATIENCE` seconds after the first one, the place where work can be saved may
    never come: then `Interrupted` is raised. Python delivers signals to the main thread only; in other threads the
    listener does nothing.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self.blocked = False
        self._before: dict[int, Any] = {}

    def start(self) -> None:
        """Install the handlers, unless that has happened."""
        if threading.current_thread() is threading.main_thread() and not self._before:
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}

    def stop(self) -> None:
        """Restore the previous handlers."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, signum: int, frame: Any) -> None:
        if self.blocked:
            self.stop()
            raise Interrupted(signum, f"the loader has given no batch for {PATIENCE:g} s; checkpoints are as before")
        if self.signum is not None:
            self.stop()
            raise KeyboardInterrupt
        self.signum = signum
        logger.warning("%s: saving and stopping; once more stops at once", signal.Signals(signum).name)
        threading.Thread(target=self._watch, args=(signum, time.monotonic()), daemon=True).start()

    def _watch(self, signum: int, noted: float) -> None:
        """Signal the main thread once more when it has waited for a loader for too long."""
        from detkit.data.loading import Loader  # here, since the command line imports this module before torch

        while self._before:
            time.sleep(min(0.2, PATIENCE))
            since = Loader.waiting_since
            if since is not None and time.monotonic() - max(since, noted) > PATIENCE:
                self.blocked = True
                signal.pthread_kill(threading.main_thread().ident or 0, signum)
                return
