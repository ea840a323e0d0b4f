"""``detkit doctor``: the command line. Its own options are few; all others are those of ``detkit train``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import get_args

from jsonargparse import ArgumentParser

from detkit.engine.config.parser import ParsedCommand, command_parser
from detkit.engine.shorthand.recipe_arguments import check_has_recipe, with_recipe_files
from detkit.errors import InputError
from detkit.trust.doctor.findings import Check

DESCRIPTION = """Check a recipe on its data before training.

Replaces the network with a perfect one: the ground truth goes through reading, augmentation, encoding, decoding,
suppression, results file and evaluator, and should come back with an AP of 1. A stage that loses objects says how many,
which and why. The last line of the table is the highest AP that this recipe can reach. Then the doctor trains a copy of
the model for a few steps: an untrained model must score about 0, losses and gradients must be finite, and a few images
must be overfit. Memory, shared memory and worker processes must be sufficient. Nothing is written to runs/.

The exit status is 1 if a check fails. All arguments of "detkit train" are accepted: give those of your training.

examples:
  detkit doctor faster_rcnn_shapes
  detkit doctor faster_rcnn_shapes --data.root my/folder --out doctor.json
  detkit doctor yolo_v3_shapes --skip overfit --skip memory --trainer.precision bf16-mixed"""


@dataclass(frozen=True)
class DoctorOptions:
    """The command's own options."""

    checkpoint: str | None
    skip: list[str]
    images: int
    steps: int
    out: Path | None
    trust: list[str]


def doctor_command(argv: Sequence[str]) -> None:
    """Parse the command line `argv`, check, print.

    Raises:
        SystemExit: with status 1, a check has failed.
    """
    options, training = parsed_options(argv)
    # Imported after parsing, so that help and errors of the command line need no torch.
    from detkit.engine.commands.doctor.examination import failed_checks, run_checks

    if failed_checks(run_checks(options, training)):
        raise SystemExit(1)


def parsed_options(argv: Sequence[str]) -> tuple[DoctorOptions, list[str]]:
    """The command's own options, and the arguments of ``detkit train`` with the files of their recipes.

    Raises:
        InputError: an option is wrong, there is no such check, or no such recipe.
    """
    parser = command_parser("doctor", "RECIPE [--KEY VALUE ...]", DESCRIPTION)
    add_arguments(parser)
    own, training = divided(argv)
    options = ParsedCommand.of(parser, own).options(DoctorOptions)
    for name in set(options.skip) - set(get_args(Check)):
        raise InputError(f"--skip {name}: there is no such check; choose from {', '.join(get_args(Check))}.")
    training = with_recipe_files(training)
    check_has_recipe(training, "doctor")
    return options, training


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--checkpoint", type=str | None, help="checkpoint or run whose classes must match those of the data"
    )
    checks = ", ".join(get_args(Check))
    parser.add_argument(
        "--skip", type=str, action="append", default=[], help=f"check to skip; repeat for several: {checks}"
    )
    parser.add_argument("--images", type=int, default=500, help="maximum number of images of a split to examine")
    parser.add_argument("--steps", type=int, default=60, help="maximum number of steps to overfit a few images")
    parser.add_argument("--out", type=Path | None, help="write all findings to this JSON file, with every lost object")
    parser.add_argument(
        "--trust", type=str, action="append", default=[], help="package whose classes a checkpoint may build"
    )


def divided(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """The command's own arguments, and those of ``detkit train``."""
    names = {f"--{one.name}" for one in fields(DoctorOptions)}
    own: list[str] = []
    training: list[str] = []
    rest = list(argv)
    while rest:
        argument = rest.pop(0)
        option, equals, _ = argument.partition("=")
        if option in ("-h", "--help"):
            own.append(argument)
        elif option in names:
            own += [argument, *([] if equals or not rest else [rest.pop(0)])]
        else:
            training.append(argument)
    return own, training
