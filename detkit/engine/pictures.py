"""Pictures of what the model sees, after each validation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch import Callback

from detkit.structures import Category


class Pictures(Callback):
    """stub"""

    def __init__(self, folder: Path, count: int, categories: Sequence[Category]) -> None:
        self.folder = folder
