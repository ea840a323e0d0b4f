"""``detkit export``: export the model of a checkpoint, and say what the file takes and gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from detkit.engine.checkpoint import load
from detkit.engine.checkpoint_file import checkpoint_path
from detkit.exporting.export_file import SUFFIXES, Format, export_file, format_of
from detkit.exporting.recording import Recorded


@dataclass(frozen=True)
class ExportOptions:
    """The arguments of the command, as its help describes them."""

    checkpoint: str
    to: Format | None
    out: str | None
    raw: bool
    int8: str | None
    float16: bool
    size: tuple[int, int] | None
    trust: Sequence[str]


def export_checkpoint(options: ExportOptions) -> None:
    """Export, and print the file with its inputs and outputs.

    Raises:
        InputError: the checkpoint cannot be read, or the model cannot be exported.
    """
    checkpoint = checkpoint_path(options.checkpoint)
    path = Path(options.out) if options.out is not None else checkpoint.with_suffix(SUFFIXES[options.to or "onnx"])
    to = format_of(path) if options.to is None else options.to
    model = load(checkpoint, device="cpu", trust=options.trust).eval()
    recorded = export_file(model, path, to, options.raw, options.size, None, options.int8, options.float16)
    print(summary(path, recorded))


def summary(path: Path, recorded: Recorded) -> str:
    """The file, its inputs and its outputs, a line each."""
    takes = [f"{name} ({', '.join(str(side) for side in shape)})" for name, shape in recorded.shapes.items()]
    return f"{path}: {type(recorded.model).__name__}\ntakes {', '.join(takes)}\ngives {', '.join(recorded.outputs)}"
