"""``detkit anchors``: the command line, and what it prints."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from detkit.anchors import shape_iou
from detkit.data.formats.open_dataset import Format
from detkit.engine.checkpoint import build_model
from detkit.engine.commands.anchors.anchor_fitting import Fitted, fit_anchors
from detkit.engine.commands.anchors.box_shapes import network_shapes, read_boxes
from detkit.engine.commands.anchors.recipe_model import recipe_model
from detkit.engine.config.parser import command_parser, parse

DESCRIPTION = """Fit the anchors of a recipe to the boxes of a data set.

Boxes are measured as the recipe's network sees them, after its resizing. The recipe keeps its number of anchors, so that
published weights still fit. Prints how well the recipe's anchors and the fitted ones match the boxes: the mean IoU of a
box's shape with the most similar anchor, and the share of boxes for which it is at least 0.5. Then prints the anchors as
part of a config and as an option of `detkit train`.

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
    config = recipe_model(options.recipe, classes=1)
    model = build_model(config, (), options.recipe)
    shapes = network_shapes(read_boxes(options.root, options.split, options.format), model.preprocess)
    fitted = fit_anchors(model, shapes, options.seed)
    print(report(fitted, shapes))
    print(advice(fitted, config, ["--config", options.recipe, *data_option(options.root)]))


def report(fitted: Fitted, shapes: Tensor) -> str:
    """How well the anchors match the boxes, before and after."""
    rows = [f"{len(shapes)} boxes     mean IoU   IoU >= 0.5"]
    for name, anchors in (("recipe", fitted.before), ("fitted", fitted.after)):
        best = shape_iou(shapes, anchors).amax(dim=1)
        rows.append(f"{name:{len(rows[0]) - 22}}{best.mean():8.3f} {(best >= 0.5).float().mean():10.1%}")
    return "\n".join(rows)


def data_option(root: Path) -> list[str]:
    """The option of a training on the same data; none for a lone annotation file."""
    return [] if root.suffix == ".json" else ["--data.root", str(root)]


def advice(fitted: Fitted, config: dict[str, Any], training: list[str]) -> str:
    """The anchors as part of a config, and as options of a training.

    Args:
        fitted: the anchors.
        config: the model's part of the recipe.
        training: the other arguments of the training.
    """
    part = fitted.part
    lines = [f"\nmodel.{part}.init_args:", *(f"  {key}: {json.dumps(value)}" for key, value in fitted.settings.items())]
    named = config["init_args"].get(part)
    options = [] if named else [f"--model.{part} {fitted.class_name}"]
    options += [f"--model.{part}.init_args.{key} '{json.dumps(value)}'" for key, value in fitted.settings.items()]
    command = f"detkit train {shlex.join(training)}"
    return "\n".join([*lines, "", " \\\n  ".join([command, *options])])
