"""``detkit convert``: convert annotated images from one format to another."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Literal

from detkit.data.conversion import convert
from detkit.data.formats.open_dataset import BoxFormat
from detkit.engine.config.parser import command_parser, parse

logger = logging.getLogger(__name__)

DESCRIPTION = """Convert annotated images between COCO's JSON, PASCAL VOC's XML and YOLO's text files.

Every error is reported with its file and line. If there is one nothing is written, unless --on_bad skip leaves it out.
docs/conversion.md describes the formats.

examples:
  detkit convert my/coco --to yolo --out my/yolo
  detkit convert VOCdevkit/VOC2007 --from voc --to coco --out voc2007_coco --splits trainval test
  detkit convert my/data.yaml --to voc --out my/voc --images link"""


def convert_command(argv: Sequence[str]) -> None:
    """Parse the command line `argv`, convert, and log the numbers of images and boxes."""
    parser = command_parser("convert", "ROOT --to FORMAT --out FOLDER [--KEY VALUE ...]", DESCRIPTION)
    parser.add_argument("root", type=str, help="the folder, or YOLO's data.yaml")
    parser.add_argument("--from", dest="source_format", type=BoxFormat | None, help="its format; default: detected")
    parser.add_argument("--to", type=BoxFormat, required=True, help="the format to write")
    parser.add_argument("--out", type=str, required=True, help="the folder to write")
    parser.add_argument("--splits", type=str, nargs="+", help="default: train, val and test, as far as they exist")
    parser.add_argument("--class_names", type=str, nargs="+", help="of VOC: the classes in the order of their labels")
    parser.add_argument("--with_masks", action="store_true", help="to YOLO: write outlines where there are any")
    parser.add_argument("--images", type=Literal["copy", "link"], default="copy", help="or make symbolic links")
    parser.add_argument("--on_bad", type=Literal["error", "skip"], default="error", help="or skip what is wrong")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier conversion")
    done = convert(**vars(parse(parser, argv)))
    for problem in done.problems:
        logger.warning("left out: %s", problem)
    for loss in done.losses:
        logger.warning("%s", loss)
    for split, images in done.images.items():
        logger.info("%s: %d images, %d boxes", split, images, done.boxes[split])
