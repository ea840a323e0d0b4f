"""``detkit export``: the command line. It needs no torch for help and errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from detkit.engine.config.parser import ParsedCommand, command_parser

DESCRIPTION = """Export a checkpoint as one file for ONNX Runtime or torch: pixels in, answers out.

The file holds normalization, network, decoding and suppression, and says in its metadata how images are resized, what
the outputs mean, the classes, and the licenses of the weights. It is written only if its outputs are those of the
model. ONNX needs the packages of `pip install detkit[onnx]`.

examples:
  detkit export runs/faster_rcnn_shapes
  detkit export runs/faster_rcnn_shapes/best.ckpt --to torch_export --out detector.pt2"""


def export_command(argv: Sequence[str]) -> None:
    """Parse the command line `argv` and export."""
    parser = command_parser("export", "CHECKPOINT [--KEY VALUE ...]", DESCRIPTION)
    parser.add_argument("checkpoint", type=str, help="checkpoint file or run folder")
    parser.add_argument(
        "--to",
        type=Literal["onnx", "torch_export", "torchscript"] | None,
        help="format of the file; default: by the suffix of --out, or onnx",
    )
    parser.add_argument(
        "--out", type=str | None, help="file to write; default: beside the checkpoint, as .onnx, .pt2 or .ts"
    )
    parser.add_argument(
        "--raw", action="store_true", help="leave out normalization, decoding and suppression: the heads' outputs"
    )
    parser.add_argument("--int8", type=str | None, help="folder of images on which an ONNX file is calibrated for INT8")
    parser.add_argument(
        "--float16", action="store_true", help="layers in float16, half the size; detections are decoded in float32"
    )
    parser.add_argument("--size", type=tuple[int, int] | None, help="height and width of the input, as [H,W]")
    parser.add_argument(
        "--trust", type=str, action="append", default=[], help="package whose classes a checkpoint may build"
    )
    parsed = ParsedCommand.of(parser, argv)
    # Imported after parsing, so that help and errors of the command line need no torch.
    from detkit.engine.commands.export.checkpoint_export import ExportOptions, export_checkpoint

    export_checkpoint(parsed.options(ExportOptions))
