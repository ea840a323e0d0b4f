"""``detkit convert``: convert annotated images from one format to another."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Literal

from detkit.engine.config.parser import command_parser, parse
from detkit.files.annotation_formats import BoxFormat, MapFormat, WrittenFormat

logger = logging.getLogger(__name__)

DESCRIPTION = """Convert a data set between COCO, PASCAL VOC, YOLO, LabelMe, label maps and COCO's panoptic format.
CVAT's XML and published layouts of maps are read as well.

If there are errors, all are reported with file and line, and nothing is written. --on_bad skip leaves out what is wrong
and writes the rest. docs/conversion.md describes the formats.

examples:
  detkit convert my/coco --to yolo --out my/yolo
  detkit convert VOCdevkit/VOC2007 --from voc --to coco --out voc2007_coco --splits trainval test
  detkit convert my/data.yaml --to voc --out my/voc --images link
  detkit convert my/labelme --to coco --out labelme_coco
  detkit convert my/coco --to maps --out my/maps"""


def convert_command(argv: Sequence[str]) -> None:
    """Parse the command line `argv`, convert, and log the numbers of images and boxes."""
    parser = command_parser("convert", "ROOT --to FORMAT --out FOLDER [--KEY VALUE ...]", DESCRIPTION)
    parser.add_argument("root", type=str, help="data set folder, or YOLO's data.yaml")
    parser.add_argument(
        "--from",
        dest="source_format",
        type=BoxFormat | MapFormat | None,
        help="format of the data set; default: detected",
    )
    parser.add_argument("--to", type=WrittenFormat, required=True, help="format to write")
    parser.add_argument("--out", type=str, required=True, help="output folder")
    parser.add_argument(
        "--splits", type=str, nargs="+", help="splits to convert; default: those of train, val and test that exist"
    )
    parser.add_argument("--class_names", type=str, nargs="+", help="for VOC, LabelMe, CVAT, maps: the classes in order")
    parser.add_argument("--with_masks", action="store_true", help="for YOLO: write the outlines of masks")
    parser.add_argument(
        "--images", type=Literal["copy", "link"], default="copy", help="copy images, or make symbolic links"
    )
    parser.add_argument(
        "--on_bad", type=Literal["error", "skip"], default="error", help="stop at wrong annotations, or skip them"
    )
    parser.add_argument(
        "--components", action="store_true", help="of label maps: each connected component of a class is an object"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing data set in --out")
    options = vars(parse(parser, argv))
    # Imported after parsing, so that help and errors of the command line need no torch.
    from detkit.data.conversion import convert

    done = convert(**options)
    for problem in done.problems:
        logger.warning("left out: %s", problem)
    for loss in done.losses:
        logger.warning("%s", loss)
    for split, images in done.images.items():
        logger.info("%s: %d images, %d %s", split, images, done.boxes[split], done.counted)
