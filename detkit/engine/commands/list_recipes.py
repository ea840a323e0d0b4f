"""``detkit recipes``: the recipes that come with detkit, and the facts of one."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from detkit.engine.config.parser import ParsedCommand, command_parser
from detkit.errors import InputError
from detkit.files import json_text
from detkit.recipes import Facts, recipe_facts, recipe_path

DESCRIPTION = """List the recipes that "detkit train NAME" trains, or show the facts of one and its file.

A name without an ending is a recipe for your own data, from published weights. Endings such as _coco, _voc07, _voc,
_camvid and _imagenet are the papers' trainings. Those of _shapes draw their images and train in minutes. A dash stands
for what is not known.

examples:
  detkit recipes
  detkit recipes --task detection
  detkit recipes faster_rcnn_shapes
  detkit recipes --json"""

COLUMNS = ("name", "task", "backbone", "input", "parameters", "published", "weights")


@dataclass(frozen=True)
class ListOptions:
    """The arguments of ``detkit recipes``."""

    name: str | None
    task: str | None
    json: bool


def recipes_command(argv: Sequence[str]) -> None:
    """Parse the command line `argv` and print the list, or one recipe."""
    parser = command_parser("recipes", "[NAME] [--task TASK] [--json]", DESCRIPTION)
    parser.add_argument("name", type=str | None, nargs="?", help="recipe to show; default: all of them")
    parser.add_argument("--task", type=str | None, help="list only recipes of this task, such as detection")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = ParsedCommand.of(parser, argv).options(ListOptions)
    facts = recipe_facts()
    if options.name is not None:
        facts = _one(facts, options.name)
    if options.task is not None:
        facts = of_task(facts, options.task)
    if options.json:
        text = json_text({name: {**asdict(one), "file": str(recipe_path(name))} for name, one in facts.items()})
    elif options.name is not None:
        text = described(options.name, facts[options.name])
    else:
        text = table(facts)
    sys.stdout.write(text.rstrip("\n") + "\n")


def _one(facts: Mapping[str, Facts], name: str) -> dict[str, Facts]:
    if name not in facts:
        path = recipe_path(name)  # which says so, unless it is a file of one's own
        raise InputError(f"{path} is a file of your own: facts are known of the recipes that `detkit recipes` lists.")
    return {name: facts[name]}


def of_task(facts: Mapping[str, Facts], task: str) -> dict[str, Facts]:
    """The recipes of one task.

    Raises:
        InputError: there are none; it names the tasks that there are.
    """
    chosen = {name: one for name, one in facts.items() if one.task == task}
    if not chosen:
        tasks = sorted({one.task for one in facts.values() if one.task})
        raise InputError(f"--task {task}: there is no such recipe; the tasks are: {', '.join(tasks) or 'not known'}.")
    return chosen


def table(facts: Mapping[str, Facts]) -> str:
    """Aligned columns, one line for each recipe."""
    rows = [COLUMNS, *(_row(name, one) for name, one in facts.items())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _row(name: str, facts: Facts) -> tuple[str, ...]:
    published = facts.published and f"{facts.published.get('metric')} {facts.published.get('value')}"
    parameters = facts.parameters and f"{facts.parameters / 1e6:.1f} M"
    cells = (facts.task, facts.backbone, facts.input, parameters, published, ", ".join(facts.weights))
    return (name, *(str(cell or "-") for cell in cells))


def described(name: str, facts: Facts) -> str:
    """The facts of a recipe, one a line, and how it is trained."""
    lines = {
        "file": recipe_path(name),
        "task": facts.task,
        "model": facts.model,
        "backbone": facts.backbone,
        "input": facts.input,
        "parameters": facts.parameters and f"{facts.parameters:,}{_with_classes(facts)}",
        "multiply-adds": facts.macs and f"{facts.macs / 1e9:.1f} G",
        "published": facts.published and _result(facts.published),
        "own result": facts.own and _result(facts.own),
        "inference": facts.inference and _inference(facts.inference),
        "weights": ", ".join(facts.weights),
        "license of weights": facts.weights_license,
        "train": f"detkit train {name}",
    }
    width = max(map(len, lines))
    return "\n".join([name, *(f"  {key.ljust(width)}  {value or '-'}" for key, value in lines.items())])


def _with_classes(facts: Facts) -> str:
    return f" with {facts.classes} classes" if facts.classes else ""


def _inference(measured: Mapping[str, Any]) -> str:
    """Such as ``0.094 s an image, torchvision 0.121 s (two threads of …)``."""
    peer = f", {measured['peer']} {measured['peer_seconds']} s" if measured.get("peer") else ""
    return f"{measured.get('seconds')} s an image{peer} ({measured.get('machine')})"


def _result(result: Mapping[str, Any]) -> str:
    """Such as ``box AP 37.0 [36.1, 37.9] on COCO val2017 (He et al.)``."""
    interval = f" [{', '.join(map(str, result['interval']))}]" if result.get("interval") else ""
    data = f" on {result['data']}" if result.get("data") else ""
    notes = [str(result[key]) for key in ("time", "machine", "source") if result.get(key)]
    return f"{result.get('metric')} {result.get('value')}{interval}{data}" + (f" ({', '.join(notes)})" if notes else "")
