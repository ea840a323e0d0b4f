"""Saving a model by itself: it describes how it was made."""

from __future__ import annotations

from pathlib import Path

from detkit.object_config import Described


class Saved(Described):
    """A model that writes its own checkpoint, since it knows the arguments that it was made with."""

    def save(self, path: str | Path) -> None:
        """Write the model as a checkpoint that `detkit.load` rebuilds: how it is built, its weights, its categories.

        Args:
            path: the file to write, such as ``mine.ckpt``; replaced in one step.

        Raises:
            InputError: the model cannot be described, since it was made with a function or was changed afterwards; or
                the file cannot be written.
        """
        from detkit.engine.checkpoint import save_model  # its reader, `detkit.load`, stands above models

        save_model(self, None, path)  # type: ignore[arg-type]  # a `VisionModel` is the only subclass
