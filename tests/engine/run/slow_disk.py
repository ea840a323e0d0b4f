"""A callback that makes writing slow, so that a kill at a random moment often falls into it."""

import os
import time

from lightning.pytorch import Callback


class SlowDisk(Callback):
    """Files take `seconds` to reach the disk, before they take their place."""

    def __init__(self, seconds: float = 0.03) -> None:
        self.seconds = seconds

    def on_fit_start(self, trainer, module) -> None:
        self.usual = os.fsync
        os.fsync = self.fsync

    def on_fit_end(self, trainer, module) -> None:
        os.fsync = self.usual

    def fsync(self, file) -> None:
        time.sleep(self.seconds)
        self.usual(file)
