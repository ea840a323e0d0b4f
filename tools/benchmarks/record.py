"""The JSON file of a benchmark: what was measured, where, and with which versions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torchvision

from detkit import ops
from detkit.files import write_whole


def write_record(out: Path, device: str, measurements: Sequence[dict[str, Any]], **settings: Any) -> None:
    """Write `measurements` to `out`, with the name of the `device` and the `settings` that they were made with."""
    versions = {"torch": torch.__version__, "torchvision": torchvision.__version__, "backend": ops.backend()}
    record = {"device": device, **settings, **versions, "measurements": list(measurements)}
    write_whole(out, json.dumps(record, indent=2) + "\n")
