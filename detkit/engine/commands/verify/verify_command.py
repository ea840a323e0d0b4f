"""``detkit verify``: its command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from jsonargparse import ArgumentParser

from detkit.engine.config.parser import ParsedCommand, command_parser
from detkit.engine.shorthand.data_arguments import data_arguments
from detkit.engine.shorthand.short_options import short_help, with_full_options

DESCRIPTION = """Certify exported files: whether they answer as their checkpoint does, on your data.

Takes .onnx, .pt2, .ts and OpenVINO's .xml files, in float32, float16 or int8. Images are prepared as the metadata of
the file describes. Prints the AP of both with the interval of their difference, the largest difference of each output,
metadata that differs from the checkpoint's, and the first node whose values differ. Everything runs on the CPU.

A file in float32 is certified if its answers are those of the checkpoint up to rounding; one in float16 or int8 also if
the interval of the difference lies within --allow. The exit status is 1 if a file is not certified.

--data.KEY takes each argument of the data that `detkit eval --help` lists.

examples:
  detkit verify classes.onnx --checkpoint runs/imagenet/best.ckpt --data.root imagenet
  detkit verify classes.onnx classes.pt2 --checkpoint runs/imagenet --data.root imagenet --images 500"""


def verify_command(argv: Sequence[str]) -> None:
    """Parse the command line `argv`, compare, and print the certificate.

    Raises:
        SystemExit: with status 1, a file is not certified.
    """
    parsed, of_data = parsed_arguments(argv)
    # Imported after parsing, so that help and errors of the command line need no torch.
    from detkit.engine.commands.verify.verifying import VerifyOptions, verify_files

    if not all(one.is_certified for one in verify_files(parsed.options(VerifyOptions), of_data)):
        raise SystemExit(1)


def parsed_arguments(argv: Sequence[str]) -> tuple[ParsedCommand, list[str]]:
    """The arguments of the command, and those of the data, which `detkit eval` parses."""
    usage = "FILE ... --checkpoint CHECKPOINT [--KEY VALUE ...]"
    parser = command_parser("verify", usage, DESCRIPTION + short_help("verify"))
    add_arguments(parser)
    of_data, own = data_arguments(with_full_options("verify", argv))
    return ParsedCommand.of(parser, own), of_data


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments, apart from those of the data."""
    parser.add_argument("files", type=str, nargs="+", help="exported files: .onnx, .pt2, .ts or .xml")
    parser.add_argument("--checkpoint", type=str, required=True, help="checkpoint file or run folder")
    parser.add_argument("--split", type=Literal["val", "test"], default="val", help="split whose images are compared")
    parser.add_argument(
        "--evaluators", type=str | None, help="list of evaluators as of `detkit eval`; default: those of the config"
    )
    parser.add_argument(
        "--images", type=int | None, help="number of images, evenly spread over the split; default: all"
    )
    parser.add_argument(
        "--allow", type=float, default=0.5, help="largest difference of AP in float16 and int8, in points"
    )
    parser.add_argument(
        "--bootstrap", type=int, default=1000, help="number of bootstrap samples for confidence intervals"
    )
    parser.add_argument("--confidence", type=float, default=0.95, help="confidence of the intervals")
    parser.add_argument("--out", type=str | None, help="write everything to this JSON file")
    parser.add_argument(
        "--trust", type=str, action="append", default=[], help="package whose classes a checkpoint may build"
    )
