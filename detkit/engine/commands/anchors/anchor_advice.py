"""What ``detkit anchors`` does after its arguments are parsed, and what it prints."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from torch import Tensor

from detkit.anchors import shape_iou
from detkit.engine.checkpoint import build_model
from detkit.engine.commands.anchors.anchor_fitting import Fitted, fit_anchors
from detkit.engine.commands.anchors.box_shapes import network_shapes, read_boxes
from detkit.engine.commands.anchors.recipe_model import recipe_model
from detkit.files.annotation_formats import Format


def print_anchors(root: Path, recipe: str, split: str, format: Format | None, seed: int) -> None:
    """Fit the anchors of a recipe to the boxes of a split, and print them.

    Args:
        root: data set folder, YOLO's ``data.yaml``, or a COCO annotation file.
        recipe: its name, or a file.
        split: of the folder.
        format: of the folder; None: detected.
        seed: of the initial anchors.

    Raises:
        InputError: the recipe has no anchors, or the data cannot be read.
    """
    config = recipe_model(recipe, classes=1)
    model = build_model(config, (), recipe)
    shapes = network_shapes(read_boxes(root, split, format), model.preprocess)
    fitted = fit_anchors(model, shapes, seed)
    print(report(fitted, shapes))
    print(advice(fitted, config, ["--config", recipe, *data_option(root)]))


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
