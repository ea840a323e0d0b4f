"""``detkit compare``: its command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from jsonargparse import ArgumentParser

from detkit.engine.config.parser import ParsedCommand, command_parser
from detkit.engine.shorthand.data_arguments import data_arguments
from detkit.engine.shorthand.short_options import short_help, with_full_options

if TYPE_CHECKING:
    from detkit.trust.comparison import Comparison

DESCRIPTION = """Tell whether two models differ, by a paired bootstrap over images.

A and B are runs, checkpoints, or files of detections in COCO's results format with --annotations. Both are evaluated on
the same images, each on the data of its own config or on --data.root. The same resampled images are drawn for both.
Prints the difference A - B of each number with its interval, a verdict, and how many images would show a difference of
1. Different images, objects or classes are refused; other orders and ids are joined by name.

--data.KEY takes each argument of the data that `detkit eval --help` lists.

examples:
  detkit compare runs/faster_rcnn_shapes runs/mine --per_class
  detkit compare runs/mine/best.ckpt runs/mine/last.ckpt --data.root my/folder --split test --out compare.json
  detkit compare detections.json other.json --annotations ground_truth.json --iou_type segm"""


def compare_command(argv: Sequence[str]) -> None:
    """Parse the command line `argv`, evaluate both, and print what differs."""
    comparisons_of(argv)


def comparisons_of(argv: Sequence[str]) -> dict[str, Comparison]:
    """Parse the command line `argv`, evaluate both, and print what differs.

    Returns:
        The comparison of each evaluator by its name.

    Raises:
        InputError: a source or an option is wrong, or both have different data.
    """
    parser = command_parser("compare", "A B [--KEY VALUE ...]", DESCRIPTION + short_help("compare"))
    add_arguments(parser)
    of_data, own = data_arguments(with_full_options("compare", argv))  # which `detkit eval` parses for each of both
    parsed = ParsedCommand.of(parser, own)
    # Imported after parsing, so that help and errors of the command line need no torch.
    from detkit.engine.commands.compare.comparing import ComparisonOptions, compare_sources

    return compare_sources(parsed.options(ComparisonOptions), of_data)


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments, apart from those of the data."""
    parser.add_argument("a", type=str, help="run, checkpoint, or .json file of detections")
    parser.add_argument("b", type=str, help="what to compare it with")
    parser.add_argument("--annotations", type=str | None, help="COCO file with the ground truth, for files")
    parser.add_argument("--split", type=Literal["val", "test"], default="val", help="split to evaluate")
    parser.add_argument(
        "--evaluators", type=str | None, help="list of evaluators as of `detkit eval`; default: those of each config"
    )
    parser.add_argument("--protocol", type=str | None, help="short form of --evaluators: coco, voc2007 or voc2010")
    parser.add_argument(
        "--iou_type",
        type=Literal["bbox", "segm", "keypoints"],
        nargs="+",
        default=None,
        help="short form of --evaluators: COCO metrics of boxes, masks or keypoints",
    )
    parser.add_argument(
        "--bootstrap", type=int, default=1000, help="number of bootstrap samples for confidence intervals"
    )
    parser.add_argument("--confidence", type=float, default=0.95, help="confidence of the intervals")
    parser.add_argument("--seed", type=int, default=0, help="seed of the resampling")
    parser.add_argument("--per_class", action="store_true", help="also compare the numbers of each class")
    parser.add_argument("--out", type=str | None, help="write everything to this JSON file")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument(
        "--precision", type=str, default="32-true", help="precision in Lightning's notation, such as bf16-mixed"
    )
    parser.add_argument(
        "--trust", type=str, action="append", default=[], help="package whose classes a checkpoint may build"
    )
