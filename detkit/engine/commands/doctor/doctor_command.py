"""``detkit doctor``: the command line. Its own options are few; all others are those of ``detkit train``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from jsonargparse import ArgumentParser

from detkit.engine.config.parser import ParsedCommand, command_parser
from detkit.engine.shorthand.recipe_arguments import with_recipe_files
from detkit.errors import InputError
from detkit.trust.doctor.findings import Check

DESCRIPTION = """Check a recipe on its data before training.

Takes the ground truth through reading, augmentation, encoding, decoding, suppression, results file and evaluator, as if
the network were perfect. It must come back with an AP of 1: a stage that loses objects says how many, which and why,
and the last line is the AP that this recipe can reach at most. Then a model with its initial weights must score about
0, losses and gradients must be finite, one batch must be learned by heart, and memory and worker processes suffice.

The exit status is 1 if a check fails. All arguments of "detkit train" are taken as well: give those of the training.

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
    parser = command_parser("doctor", "RECIPE [--KEY VALUE ...]", DESCRIPTION)
    add_arguments(parser)
    own, training = divided(argv)
    options = ParsedCommand.of(parser, own).options(DoctorOptions)
    for name in set(options.skip) - set(get_args(Check)):
        raise InputError(f"--skip {name}: there is no such check; there are {', '.join(get_args(Check))}.")
    training = with_recipe_files(training)  # so that a wrong name is told before torch is imported
    from detkit.engine.commands.doctor.examination import run_checks

    if not run_checks(options, training):
        raise SystemExit(1)


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--checkpoint", type=str | None, help="checkpoint whose classes must be those of the data")
    checks = ", ".join(get_args(Check))
    parser.add_argument("--skip", type=str, action="append", default=[], help=f"check to leave out: {checks}")
    parser.add_argument("--images", type=int, default=500, help="most images of a split that are examined")
    parser.add_argument("--steps", type=int, default=60, help="most steps in which one batch is learned by heart")
    parser.add_argument("--out", type=Path | None, help="JSON file of all findings, with every lost object")
    parser.add_argument(
        "--trust", type=str, action="append", default=[], help="package whose classes a checkpoint may build"
    )


def divided(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """The command's own arguments, and those of ``detkit train``."""
    names = {"--checkpoint", "--skip", "--images", "--steps", "--out", "--trust"}
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
