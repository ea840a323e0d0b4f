"""``detkit license``: where the weights of a file come from, and under which licenses."""

from __future__ import annotations

from collections.abc import Sequence

from detkit.engine.config.parser import command_parser, parse

DESCRIPTION = """Print where the weights in a file come from, and what their publishers state of licenses.

The file is a checkpoint, a run's folder, or an ONNX file that detkit has exported. The model is not built.

examples:
  detkit license runs/faster_rcnn_shapes
  detkit license runs/faster_rcnn_shapes/best.ckpt"""


def license_command(argv: Sequence[str]) -> None:
    """Parse the command line `argv` and print the sources of weights."""
    parser = command_parser("license", "FILE", DESCRIPTION)
    parser.add_argument("file", type=str, help="checkpoint, run folder or .onnx file")
    file = parse(parser, argv).file
    # Imported after parsing, so that help and errors of the command line need no torch.
    from detkit.engine.commands.license_text import license_text

    print(license_text(file))
