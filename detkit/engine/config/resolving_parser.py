"""`ResolvingParser`: writes resolved configs, with the values of a head where the config has none of its own."""

from __future__ import annotations

import contextlib
import inspect
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from jsonargparse import ArgumentParser, Namespace

from detkit.engine.config.records.paths import absolute, relative_to_recipe, with_paths
from detkit.engine.config.values.declared_arguments import declared_arguments
from detkit.errors import InputError
from detkit.files import read_yaml

if TYPE_CHECKING:
    from detkit.heads.postprocessed_head import PostprocessedHead


class ResolvingParser(ArgumentParser):
    """A parser of recipes.

    It reads them strictly, finds the paths in them, and dumps all numbers, so that later releases with other defaults
    build the same.
    """

    def parse_path(self, path: Any, *arguments: Any, **options: Any) -> Namespace:
        """Parse a recipe file; the paths in it are relative to its folder where they exist there.

        Raises:
            InputError: it cannot be read, is not YAML, or is no mapping.
        """
        file = Path(str(path))
        content = read_yaml(file)
        if not isinstance(content, dict):
            raise InputError(
                f"{file}: this file holds no settings, which are lines such as `data: {{root: my/folder}}`."
            )
        content = _with_sections(self, content, file)
        with contextlib.chdir(file.parent):  # for files of parts that the recipe names
            parsed = self.parse_string(yaml.safe_dump(content, sort_keys=False), file.name, **options)
        return with_paths(parsed, lambda given: relative_to_recipe(given, file.absolute().parent))

    def dump(self, cfg: Namespace, *arguments: Any, **options: Any) -> str:
        """Return the config `cfg` as text."""
        with warnings.catch_warnings():
            # Our constructors take lists for tuples.
            warnings.filterwarnings("ignore", r"\s*Dump of a value that does not round-trip: a tuple is", UserWarning)
            return super().dump(with_paths(with_own_values(cfg), absolute), *arguments, **options)


def _with_sections(parser: ArgumentParser, content: dict[Any, Any], file: Path) -> dict[Any, Any]:
    """`content` with a mapping for each empty section; refuses other values there, which jsonargparse ignores."""
    dotted = [argument.key.split(".") for argument in declared_arguments(parser)]
    sections = {section for section, *keys in dotted if keys not in ([], ["help"])}
    for key, value in content.items():
        is_file = isinstance(value, str) and (file.parent / value).is_file()
        if key in sections and value is not None and not isinstance(value, dict) and not is_file:
            raise InputError(f"{file}: {key} must hold settings, such as `{key}: {{name: value}}`, not {value!r}.")
    return {key: {} if value is None and key in sections else value for key, value in content.items()}


def with_own_values(config: Any) -> Any:
    """`config`, or a part of it, with the own values of each `PostprocessedHead` in its suppression."""
    if isinstance(config, list):
        return [with_own_values(part) for part in config]
    if not isinstance(config, Namespace):
        return config
    from detkit.heads.postprocessed_head import PostprocessedHead  # a command without classes needs no torch

    filled = Namespace(**{name: with_own_values(part) for name, part in vars(config).items()})
    head, arguments = _class_of(filled), filled.get("init_args")
    if isinstance(head, type) and issubclass(head, PostprocessedHead) and isinstance(arguments, Namespace):
        for name in head.own_values.keys() & vars(arguments).keys():
            arguments[name] = _filled(head, name, arguments[name])
    return filled


def _filled(head: type[PostprocessedHead], name: str, given: Namespace | None) -> Namespace | None:
    usual = head.usual_postprocess
    path = f"{usual.__module__}.{usual.__qualname__}"
    part = Namespace(class_path=path, init_args=Namespace()) if given is None else given
    kind = _class_of(part)
    if kind is None:
        return given
    arguments = part.get("init_args") or Namespace()
    values = head.own_values[name]
    for argument, parameter in inspect.signature(kind).parameters.items():
        if arguments.get(argument) is None:
            default = None if parameter.default is inspect.Parameter.empty else parameter.default
            arguments[argument] = values.get(argument) if default is None else default
    return Namespace(class_path=part.class_path, init_args=arguments)


def _class_of(part: Namespace) -> type | None:
    """The class that a parsed part names; parsing has imported it."""
    module, _, name = str(part.get("class_path")).rpartition(".")
    kind = getattr(sys.modules.get(module), name, None)
    return kind if isinstance(kind, type) else None
