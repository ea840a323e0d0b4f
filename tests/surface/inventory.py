"""What detkit offers to those who use it: public names, config keys and commands, as sorted JSON.

    python tests/surface/inventory.py --out surface.json
    python tests/surface/inventory.py --compare tests/surface/surface_0e2a452.json

``--compare`` prints what an earlier surface had and this one lacks (``-``), and what is new (``+``).
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib
import inspect
import io
import json
import pkgutil
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import albumentations
import jsonargparse
from torch import nn
from torch.optim import Optimizer

ROOT = Path(__file__).resolve().parents[2]

Surface = dict[str, dict[str, Any]]


def surface() -> Surface:
    """All of it, by group:

    ``names``: what each package's ``__all__`` names. ``parameters``: by qualified name where it is defined, the
    parameters of each public class and function. ``values``: public constants and type aliases of each module.
    ``methods``: those of the classes in an ``__all__``. ``keys``: what the parser of each command declares.
    ``init_args``: the keys of each class that a config can name. ``commands``: of ``detkit`` and in ``tools/``.
    """
    modules = list(_modules())
    return {
        "names": {module.__name__: sorted(module.__all__) for module in modules if hasattr(module, "__all__")},
        "parameters": {
            f"{module.__name__}.{name}": parameters(value) for module in modules for name, value in _defined(module)
        },
        "values": {module.__name__: names for module in modules if (names := _values(module))},
        "methods": {f"{value.__module__}.{value.__name__}": _methods(value) for value in _exported_classes(modules)},
        "keys": command_keys(),
        "init_args": init_args(modules),
        "commands": {
            "detkit": re.findall(r"^  (\w+) +\w", _said_by("--help"), re.MULTILINE),
            "tools": sorted(path.name for path in (ROOT / "tools").glob("*.py")),
        },
    }


def parameters(value: Callable[..., Any]) -> list[str]:
    """The names of the parameters of a class or function, ``*`` and ``**`` before those that take any."""
    try:
        declared = inspect.signature(value).parameters.values()
    except (ValueError, TypeError):  # as of some classes that are written in C
        return []
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    return [stars.get(parameter.kind, "") + parameter.name for parameter in declared]


def command_keys() -> dict[str, list[str]]:
    """By command, the dotted keys that its parser declares; a positional argument is its name."""
    from detkit.engine import cli
    from detkit.engine.commands import fit_anchors

    commands: dict[str, Callable[[Sequence[str]], None]] = {
        "train": lambda _: cli.train(["--model", "SSD"]),  # without a recipe it ends before it parses
        "eval": cli.evaluate,
        "predict": cli.predict,
        "visualize": cli.visualize,
        "convert": cli.convert,
        "fit_svms": cli.fit_svms,
        "proposals": cli.proposals,
        "anchors": fit_anchors.anchors_command,
    }
    return {name: sorted(_declared(_parser_of(command))) for name, command in commands.items()}


def init_args(modules: Sequence[ModuleType]) -> dict[str, list[str]]:
    """By class, the keys that a config may give it."""
    result = {}
    for module in modules:
        for name, value in _defined(module):
            if inspect.isclass(value) and _is_configurable(value):
                result[f"{module.__name__}.{name}"] = class_keys(value)
    return result


def class_keys(value: type) -> list[str]:
    """The keys under ``init_args`` of a class, also those that it passes on to its bases."""
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    try:
        parser.add_class_arguments(value, "it", fail_untyped=False)
    except ValueError:  # one that a config cannot build after all
        return sorted(parameters(value))
    return sorted(key.removeprefix("it.") for key in _declared(parser) if key.startswith("it."))


def differences(old: Surface, new: Surface) -> list[str]:
    """A line for each thing that only one of the two has."""
    lines = []
    for group in sorted(old.keys() | new.keys()):
        before, after = old.get(group, {}), new.get(group, {})
        for name in sorted(before.keys() | after.keys()):
            if name not in after or name not in before:
                lines.append(f"{'-' if name in before else '+'} {group}: {name}")
                continue
            lines += [f"- {group}: {name}: {key}" for key in before[name] if key not in after[name]]
            lines += [f"+ {group}: {name}: {key}" for key in after[name] if key not in before[name]]
    return lines


def written(result: Surface) -> str:
    """JSON with a line for each entry."""
    groups = []
    for group, entries in sorted(result.items()):
        lines = [f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in sorted(entries.items())]
        groups.append(f" {json.dumps(group)}: {{\n" + ",\n".join(lines) + "\n }")
    return "{\n" + ",\n".join(groups) + "\n}\n"


def _modules() -> Iterator[ModuleType]:
    import detkit

    yield detkit
    for info in pkgutil.walk_packages(detkit.__path__, "detkit."):
        if not any(part.startswith("_") for part in info.name.split(".")):
            yield importlib.import_module(info.name)


def _defined(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """The public classes and functions that `module` itself defines."""
    for name, value in sorted(vars(module).items()):
        is_either = inspect.isclass(value) or inspect.isfunction(value)
        if is_either and not name.startswith("_") and value.__module__ == module.__name__ and value.__name__ == name:
            yield name, value


def _values(module: ModuleType) -> list[str]:
    """The public names that `module` assigns at its top level."""
    targets: list[ast.expr] = []
    for statement in ast.parse(inspect.getsource(module)).body:
        if isinstance(statement, ast.Assign):
            targets += statement.targets
        elif isinstance(statement, ast.AnnAssign):
            targets.append(statement.target)
    names = {node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)}
    return sorted(name for name in names if not name.startswith("_") and name != "logger")


def _exported_classes(modules: Sequence[ModuleType]) -> set[type]:
    exported = [getattr(module, name) for module in modules for name in getattr(module, "__all__", ())]
    return {value for value in exported if inspect.isclass(value) and value.__module__.startswith("detkit.")}


def _methods(value: type) -> list[str]:
    return sorted(name for name, member in vars(value).items() if callable(member) and not name.startswith("_"))


def _is_configurable(value: type) -> bool:
    from detkit.engine.optimization import Schedule
    from lightning.pytorch import Callback

    from detkit.data import Augmentation, DataModule, Mixing, ShapesOptions
    from detkit.proposals import Proposals

    kinds = (nn.Module, Callback, Schedule, Optimizer, Proposals, Augmentation, Mixing, DataModule, ShapesOptions)
    return issubclass(value, (*kinds, albumentations.BasicTransform))


class _Captured(Exception):
    """Carries a parser out of the command that made it."""


def _parser_of(command: Callable[[Sequence[str]], None]) -> argparse.ArgumentParser:
    """The parser that a command makes, caught when it begins to parse."""

    def catch(parser: argparse.ArgumentParser, *_: Any, **__: Any) -> None:
        raise _Captured(parser)

    parsers = (argparse.ArgumentParser, jsonargparse.ArgumentParser)
    with contextlib.ExitStack() as stack:
        for parser in parsers:
            stack.enter_context(patch.object(parser, "parse_args", catch))
        try:
            command([])
        except _Captured as caught:
            return caught.args[0]
    raise AssertionError(f"{command} parses nothing")


def _declared(parser: argparse.ArgumentParser) -> set[str]:
    """Without what other packages' releases add or take: Lightning's own keys, and jsonargparse's helpers."""
    keys = {action.dest for action in parser._actions} - {"help", "print_config"}
    return {key for key in keys if not key.startswith("trainer.") and not key.endswith(".help")}


def _said_by(*argv: str) -> str:
    from detkit.engine import cli

    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        cli.main(argv)
    return said.getvalue()


def main() -> int:
    """Print, write or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="write the surface to this file")
    parser.add_argument("--compare", type=Path, help="print what has changed since the surface in this file")
    options = parser.parse_args()
    warnings.simplefilter("ignore", DeprecationWarning)
    result = surface()
    if options.compare:
        lines = differences(json.loads(options.compare.read_text()), result)
        print("\n".join(lines) or "no differences")
        return 1 if any(line.startswith("-") for line in lines) else 0
    if options.out:
        options.out.write_text(written(result))
    else:
        print(written(result), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
