"""The command line of ``detkit inspect``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jsonargparse import ArgumentParser

from detkit.engine.config.parser import ParsedCommand, command_parser
from detkit.engine.shorthand.data_arguments import data_arguments
from detkit.errors import InputError
from detkit.files import check_writable
from detkit.recipes import recipe_path

DESCRIPTION = """Show what is in a data set, and what is wrong with it, before any training.

Reads all splits of a folder in any layout, with all their faults, and decodes the images. Prints tables of splits,
classes, box and image sizes, masks and keypoints. Then names wrong boxes, masks, keypoints, classes and files, and
images that are there several times, in one split or across splits. With a recipe it also shows the sizes of the objects
on the levels of its network, and what its augmentation makes of the images.

The exit status is 1 if there is an error, at which a training would stop. --data.KEY takes each argument of the data
that `detkit train --help` lists.

examples:
  detkit inspect my/folder
  detkit inspect my/folder --out inspect.html
  detkit inspect my/folder --images 2000 --out inspect.json
  detkit inspect my/folder --recipe faster_rcnn_shapes --out inspect.html
  detkit inspect --data.train_annotations my/annotations/instances_train.json --data.train_images my/images/train"""

SUFFIXES = (".html", ".json")


@dataclass(frozen=True)
class InspectOptions:
    """The command's own options."""

    root: Path | None
    recipe: str | None
    images: int | None
    previews: int
    out: Path | None


def inspect_command(argv: Sequence[str]) -> None:
    """Parse the command line `argv`, look at the data, print.

    Raises:
        SystemExit: with status 1, there is an error in the data.
    """
    parser = command_parser("inspect", "FOLDER [--KEY VALUE ...]", DESCRIPTION)
    add_arguments(parser)
    of_data, own = data_arguments(argv)
    options = ParsedCommand.of(parser, own).options(InspectOptions)
    check_options(options, of_data)
    # Imported after parsing, so that help and errors of the command line need no torch.
    from detkit.engine.commands.inspect.inspecting import run_inspection

    if run_inspection(options, of_data).of_level("error"):
        raise SystemExit(1)


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments, apart from those of the data."""
    parser.add_argument("root", type=Path | None, nargs="?", help="data set folder, or YOLO's data.yaml")
    parser.add_argument("--recipe", type=str | None, help="recipe whose levels, anchors and augmentation are shown")
    parser.add_argument(
        "--images", type=int | None, help="the most image files that are decoded, spread evenly; default: all"
    )
    parser.add_argument("--previews", type=int, default=12, help="augmented training images on the page, of --recipe")
    parser.add_argument("--out", type=Path | None, help="file of all findings: .html for a page, .json for programs")


def check_options(options: InspectOptions, of_data: Sequence[str]) -> None:
    """Refuse wrong options.

    Raises:
        InputError: there is no data, a value is wrong, or the file cannot be written.
    """
    if options.root is None and not of_data:
        raise InputError("Name the folder of the data, as in `detkit inspect my/folder`.")
    if options.images is not None and options.images < 1:
        raise InputError(f"--images is {options.images}: give at least 1, or leave it out for all.")
    if options.previews < 0:
        raise InputError(f"--previews is {options.previews}: give the number of images, or 0 for none.")
    if options.recipe is not None:
        recipe_path(options.recipe)  # so that a wrong name is told before torch is imported
    if options.out is not None and options.out.suffix.lower() not in SUFFIXES:
        raise InputError(f"--out {options.out}: the name must end in .html for a page, or in .json.")
    if options.out is not None:
        check_writable(options.out)
