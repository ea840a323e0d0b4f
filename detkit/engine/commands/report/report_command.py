"""The command line of ``detkit report``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from jsonargparse import ArgumentParser

from detkit.engine.config.parser import ParsedCommand, command_parser
from detkit.engine.shorthand.data_arguments import data_arguments
from detkit.engine.shorthand.short_options import short_help, with_full_options

DESCRIPTION = """Write a report of a run or a checkpoint: one HTML file that needs no server and no network.

It holds the metrics with confidence intervals, tables of classes, sizes and errors, precision and recall, the confusion
matrix, the images with the most errors, the curves of the training, the recipe, the environment and the licenses. The
default data is the validation split of the checkpoint's config. Arguments of the data, --data.KEY VALUE, are those of
`detkit eval`.

examples:
  detkit report runs/faster_rcnn_shapes
  detkit report runs/faster_rcnn_shapes/best.ckpt --data.root my/folder --split test --out report.html"""


def report_command(argv: Sequence[str]) -> None:
    """Parse the command line `argv` and write the page."""
    report_of(argv)


def report_of(argv: Sequence[str]) -> Path:
    """Parse the command line `argv` and write the page; gives its path.

    Raises:
        InputError: an option, the checkpoint or the data is wrong.
    """
    parser = command_parser("report", "RUN [--data.root DIR] [--KEY VALUE ...]", DESCRIPTION + short_help("report"))
    add_arguments(parser)
    of_data, others = data_arguments(with_full_options("report", argv))
    parsed = ParsedCommand.of(parser, others)
    # Imported after parsing, so that help and errors of the command line need no torch.
    from detkit.engine.commands.report.reporting import ReportingOptions, report

    return report(parsed.options(ReportingOptions), of_data)


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("run", type=str, help="run folder or checkpoint file")
    parser.add_argument("--out", type=str | None, help="the HTML file; default: report.html beside the checkpoint")
    parser.add_argument("--split", type=Literal["val", "test"], default="val", help="split to evaluate")
    parser.add_argument("--images", type=int, default=48, help="the most images on the page, those with most errors")
    parser.add_argument(
        "--image_size", type=int, default=640, help="the longest side of an image on the page, in pixels"
    )
    parser.add_argument(
        "--score_threshold", type=float, default=0.3, help="minimum score of detections in confusions and images"
    )
    parser.add_argument(
        "--bootstrap", type=int, default=500, help="number of bootstrap samples for confidence intervals; 0: none"
    )
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument(
        "--trust", type=str, action="append", default=[], help="package whose classes a checkpoint may build"
    )
