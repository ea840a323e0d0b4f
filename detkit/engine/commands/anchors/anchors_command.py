"""``detkit anchors``: anchors of a recipe for the boxes of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from detkit.engine.config.parser import command_parser, parse
from detkit.files.annotation_formats import Format

DESCRIPTION = """Fit the anchors of a recipe to the boxes of a data set.

Boxes are measured as the recipe's network sees them, after its resizing. The recipe keeps its number of anchors, so
that published weights still fit. Prints how well the recipe's anchors and the fitted ones match the boxes: the mean IoU
of a box's shape with the most similar anchor, and the share of boxes for which it is at least 0.5. Then prints the
anchors as part of a config and as options of `detkit train`.

examples:
  detkit anchors my/folder --recipe faster_rcnn_mobilenet_v2_fpn
  detkit anchors my/annotations/instances_train.json --recipe yolo_v4_tiny"""


def anchors_command(argv: Sequence[str]) -> None:
    """Parse the command line `argv`, fit, print."""
    parser = command_parser("anchors", "ROOT --recipe RECIPE [--KEY VALUE ...]", DESCRIPTION)
    parser.add_argument("root", type=Path, help="data set folder, YOLO's data.yaml, or a COCO annotation file")
    parser.add_argument("--recipe", type=str, required=True, help="recipe whose anchors are fitted: a name or a file")
    parser.add_argument("--split", type=str, default="train", help="split of the folder")
    parser.add_argument("--format", type=Format | None, help="format of the folder; default: detected")
    parser.add_argument("--seed", type=int, default=0, help="seed of the initial anchors")
    options = parse(parser, argv)
    # Imported after parsing, so that help and errors of the command line need no torch.
    from detkit.engine.commands.anchors.anchor_advice import print_anchors

    print_anchors(**vars(options))
