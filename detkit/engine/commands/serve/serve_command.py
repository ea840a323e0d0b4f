"""The command line of ``detkit serve``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from jsonargparse import ArgumentParser

from detkit.engine.config.parser import ParsedCommand, command_parser
from detkit.engine.shorthand.short_options import short_help, with_full_options

DESCRIPTION = """Serve a run or a checkpoint over HTTP: an upload page, and POST /predict for programs.

Waiting requests are answered in batches. There is no authentication: by default only this machine can connect. Put a
proxy in front of it before you give --host 0.0.0.0. Ctrl+C or SIGTERM stops it after the current requests are answered.
It needs the packages of `pip install detkit[serve]`.

example:
  detkit serve runs/faster_rcnn_shapes --port 8000"""


def serve_command(argv: Sequence[str]) -> None:
    """Parse the command line `argv` and serve until a signal comes."""
    parser = command_parser("serve", "RUN [--KEY VALUE ...]", DESCRIPTION + short_help("serve"))
    add_arguments(parser)
    parsed = ParsedCommand.of(parser, with_full_options("serve", argv))
    # Imported after parsing, so that help and errors of the command line need no torch.
    from detkit.engine.commands.serve.running import ServingOptions, serve

    serve(parsed.options(ServingOptions))


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("run", type=str, help="run folder or checkpoint file")
    parser.add_argument("--host", type=str, default="127.0.0.1", help="address to listen on; 0.0.0.0: all networks")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on; 0: any free port")
    parser.add_argument("--max_images", type=int, default=16, help="the most images of one request")
    parser.add_argument("--max_megabytes", type=int, default=64, help="the largest request, in MB")
    parser.add_argument("--max_pixels", type=int, default=50_000_000, help="the most pixels of one image")
    parser.add_argument("--max_waiting", type=int, default=32, help="the most requests at a time; more get status 503")
    parser.add_argument("--batch_size", type=int, default=8, help="images per forward pass")
    parser.add_argument(
        "--focal_length",
        type=float | None,
        help="focal length of all images in pixels, for a model that asks for their cameras; the center is the image's",
    )
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument(
        "--precision",
        type=Literal["32-true", "bf16-true", "16-true"],
        default="32-true",
        help="type of the weights, in Lightning's notation",
    )
    parser.add_argument(
        "--trust", type=str, action="append", default=[], help="package whose classes a checkpoint may build"
    )
