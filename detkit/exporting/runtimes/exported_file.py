"""`ExportedFile`, what the files of all runtimes have."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from torch import Tensor

Precision = Literal["float32", "float16", "int8"]


class ExportedFile(ABC):
    """A file that a runtime has opened.

    Attributes:
        path: of the file.
        runtime: name and version of the runtime, ``ONNX Runtime 1.27``.
        facts: its metadata by key, as docs/export.md describes them; empty where it has none.
        inputs: names of the inputs.
        outputs: names of the outputs, in their order.
        shapes: the shape of each input by its name, None for a side of any length; without those that are unknown.
        precision: of most of its weights, as they are stored.
    """

    path: Path
    runtime: str
    facts: dict[str, str]
    inputs: list[str]
    outputs: list[str]
    shapes: dict[str, list[int | None]]
    precision: Precision

    @abstractmethod
    def run(self, inputs: Mapping[str, np.ndarray | Tensor]) -> dict[str, np.ndarray]:
        """The outputs by name.

        Args:
            inputs: a value of each input by its name; others are left out.

        Raises:
            InputError: an input is missing, or the runtime cannot run the file for these inputs.
        """

    def move_score_thresholds_(self, threshold: float) -> None:
        """Set all score thresholds of the opened file to `threshold`; the file itself stays as it is.

        Raises:
            NotImplementedError: the runtime cannot do this.
        """
        raise NotImplementedError
