"""``detkit eval``: COCO's, VOC's, ILSVRC's or your own numbers of a checkpoint, or of a file of detections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jsonargparse import ArgumentParser

from detkit.deprecation import moved_names
from detkit.engine.checkpoint import Checkpoint
from detkit.engine.commands.evaluation.evaluating import (
    PreparedEvaluation,
    evaluate_checkpoint,
    evaluate_file,
    prepare,
    report,
)
from detkit.engine.commands.evaluation.evaluation_options import EvaluationOptions, add_arguments, check_options
from detkit.engine.config.command_line import read_named_checkpoint
from detkit.engine.config.parser import ParsedCommand, command_parser
from detkit.engine.shorthand.short_options import short_help, with_full_options
from detkit.models import VisionModel

__getattr__ = moved_names(
    __name__,
    {
        "EXPLICIT_PATHS": "detkit.engine.config.command_line.EXPLICIT_PATHS",
        "default_to_training_data": "detkit.engine.config.command_line.default_to_training_data",
    },
)

DESCRIPTION = """Evaluate a checkpoint or a file of detections: COCO, PASCAL VOC or ILSVRC metrics, or your own.

The default data is the validation split of the checkpoint's config. --data.root evaluates on another folder with the
same classes. The default evaluators are those of the checkpoint's config. A file of detections, in COCO's results
format, needs no checkpoint.

examples:
  detkit eval --checkpoint runs/faster_rcnn_shapes/best.ckpt --out metrics.json
  detkit eval --checkpoint runs/faster_rcnn_shapes/best.ckpt --data.root my/folder --split test --per_class
  detkit eval --annotations ground_truth.json --detections detections.json --iou_type segm
  detkit eval --checkpoint runs/voc/best.ckpt --data.root VOCdevkit/VOC2007 --split test --protocol voc2007
  detkit eval --checkpoint runs/faster_rcnn_shapes/best.ckpt --evaluators '[CocoEvaluator, my_package.MyEvaluator]'
  detkit eval --checkpoint runs/faster_rcnn_shapes/best.ckpt --bootstrap 1000 --errors --curves curves.png
  detkit eval --checkpoint runs/imagenet/best.ckpt --data.root imagenet --confusion confusion.csv"""


def evaluate_command(argv: Sequence[str]) -> None:
    """Parse the command line `argv`, evaluate, and print the tables."""
    evaluation_numbers(argv)


def evaluation_numbers(argv: Sequence[str], given: tuple[VisionModel, Checkpoint] | None = None) -> dict[str, Any]:
    """Parse the command line `argv`, evaluate, and print the tables.

    Args:
        argv: the command line.
        given: a model that exists and what is known of it, in place of ``--checkpoint``.

    Returns:
        The numbers of each evaluator by its name; nothing on all processes but the first.

    Raises:
        InputError: an option, the checkpoint or the data is wrong.
    """
    parser = evaluation_parser()
    argv = with_full_options("eval", argv)
    model, checkpoint = given or (None, read_named_checkpoint(parser, argv))
    parsed = ParsedCommand.of(parser, argv)
    options = parsed.options(EvaluationOptions)
    check_options(options, checkpoint is not None)
    if checkpoint is None:
        return report(evaluate_file(options), options)
    evaluators = evaluate_checkpoint(checkpoint, parsed, options, model)
    return {} if evaluators is None else report(evaluators, options)


def prepared_evaluation(argv: Sequence[str]) -> tuple[Checkpoint, PreparedEvaluation]:
    """What ``detkit eval`` evaluates with a command line that names a checkpoint, before the pass over the data.

    Raises:
        InputError: an option, the checkpoint or the data is wrong.
    """
    checkpoint, parsed, options = parsed_evaluation(argv)
    return checkpoint, prepare(checkpoint, parsed, options)


def parsed_evaluation(argv: Sequence[str]) -> tuple[Checkpoint, ParsedCommand, EvaluationOptions]:
    """The checkpoint that a command line names, and its arguments, before anything is built.

    Raises:
        InputError: an option or the checkpoint is wrong.
    """
    parser = evaluation_parser()
    checkpoint = read_named_checkpoint(parser, argv)
    if checkpoint is None:
        raise ValueError("no checkpoint is named")
    parsed = ParsedCommand.of(parser, argv)
    options = parsed.options(EvaluationOptions)
    check_options(options, has_checkpoint=True)
    return checkpoint, parsed, options


def evaluation_parser() -> ArgumentParser:
    """The parser of the command."""
    parser = command_parser("eval", "--checkpoint CHECKPOINT [--KEY VALUE ...]", DESCRIPTION + short_help("eval"))
    add_arguments(parser)
    return parser
