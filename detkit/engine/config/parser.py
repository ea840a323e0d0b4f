"""What the commands' parsers have in common."""

from __future__ import annotations

import json
from argparse import RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser, DefaultHelpFormatter, Namespace, get_loader, set_loader

from detkit.engine.config.old_configs import modern_arguments, modernized
from detkit.engine.config.parse_errors import explain
from detkit.engine.config.resolved import ResolvingParser
from detkit.errors import InputError
from detkit.files import write_whole


class HelpFormatter(RawDescriptionHelpFormatter, DefaultHelpFormatter):
    """Descriptions as they were written, each argument with its type and default."""


CONFIG = "detkit_yaml"
"""The mode of our parsers: YAML whose keys may be those of the release before."""


def _load_config(text: str) -> Any:
    content = get_loader("yaml")(text)
    return modernized(content) if isinstance(content, dict) else content


set_loader(CONFIG, _load_config, (yaml.YAMLError,))


def command_parser(name: str, usage: str, description: str) -> ArgumentParser:
    """A parser for ``detkit name``, which raises its errors."""
    return ResolvingParser(
        prog=f"detkit {name}",
        usage=f"detkit {name} {usage}",
        description=description,
        exit_on_error=False,
        allow_abbrev=False,
        formatter_class=HelpFormatter,
        parser_mode=CONFIG,
    )


def parse(parser: ArgumentParser, argv: Sequence[str]) -> Namespace:
    """The command line `argv`, parsed.

    Raises:
        InputError: one sentence that names the wrong key, where it stands and what is near to it.
    """
    try:
        return parser.parse_args(list(argv))
    except ArgumentError as error:
        modern = modern_arguments(argv)
        if modern != list(argv):
            return parse(parser, modern)
        raise InputError(explain(error, parser, argv)) from error


def check_precision(key: str, precision: str | int | None) -> None:
    """Refuse a precision in which boxes would not be float32, as they always are.

    Raises:
        InputError: it names `key` and what there is.
    """
    known = ("32-true", "bf16-mixed", "16-mixed")
    if precision not in (None, "32", 32, *known):
        raise InputError(f"{key} is {precision}: choose one of {', '.join(known)}.")


def write_json(path: str | Path, content: Any) -> None:
    """Write a JSON file that appears whole or not at all.

    Raises:
        InputError: the disk is full or the folder cannot be written.
    """
    try:
        write_whole(Path(path), json.dumps(content).encode())
    except OSError as error:
        raise InputError(f"{path} could not be written ({error.strerror}).") from error
