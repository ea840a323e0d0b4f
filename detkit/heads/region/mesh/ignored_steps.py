"""How many steps of a training taught nothing, counted without waiting for the device at each."""

from __future__ import annotations

import logging

from torch import Tensor

logger = logging.getLogger(__name__)

REPORT_EVERY = 100
"""Steps between looks at the count, each of which waits for the device."""


class IgnoredSteps:
    """Counts the steps that are ignored, on their device, and logs how many of the last `REPORT_EVERY` were.

    Args:
        reason: why steps are ignored and what to do, the end of the message.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        self._steps = 0
        self._ignored: Tensor | None = None

    def count(self, is_ignored: Tensor) -> None:
        """Count a step.

        Args:
            is_ignored: bool ``()``.
        """
        self._ignored = is_ignored.long() if self._ignored is None else self._ignored.to(is_ignored.device) + is_ignored
        self._steps += 1
        if self._steps < REPORT_EVERY:
            return
        ignored = int(self._ignored)
        if ignored:
            logger.warning("%d of the last %d steps %s", ignored, self._steps, self.reason)
        self._steps, self._ignored = 0, None
