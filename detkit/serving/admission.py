"""How many requests are read or wait for their answers at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import HTTPException

RETRY_SECONDS = 1
"""What a request that finds too many others is told to wait."""


class Admission:
    """Places of requests.

    Args:
        places: the most requests at a time.
    """

    def __init__(self, places: int) -> None:
        self._places, self._lock = places, threading.Lock()
        self.count = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place, from before anything of the body is read until the answer is made.

        Raises:
            HTTPException: 503, all places are taken.
        """
        with self._lock:
            if self.count >= self._places:
                message = f"{self.count} requests are waiting already: try again later."
                raise HTTPException(503, message, {"Retry-After": str(RETRY_SECONDS), "Connection": "close"})
            self.count += 1
        try:
            yield
        finally:
            with self._lock:
                self.count -= 1
