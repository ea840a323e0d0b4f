"""The parser of a command, and its parsed command line as typed options and objects."""

from __future__ import annotations

import re
from argparse import RawDescriptionHelpFormatter
from collections.abc import Collection, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from jsonargparse import ArgumentError, ArgumentParser, DefaultHelpFormatter, Namespace, set_loader

from detkit.engine.config.building import build
from detkit.engine.config.resolving_parser import ResolvingParser
from detkit.engine.config.values.declared_arguments import declared_arguments
from detkit.engine.config.values.nulls import check_nulls, restore_nulls
from detkit.engine.config.values.ranges import check_values
from detkit.errors import InputError
from detkit.files import json_text, parse_yaml, write_whole

Options = TypeVar("Options")


class HelpFormatter(RawDescriptionHelpFormatter, DefaultHelpFormatter):
    """Prints descriptions as they are written, and each argument with its type and default."""


CONFIG = "detkit_yaml"
"""The mode of detkit's parsers: YAML in which keys of the previous release are accepted."""


# What translates old configs and describes errors knows all classes. It is imported where there is a config or an
# error, so that the help of a command without classes needs no torch.


def _load_config(text: str) -> Any:
    content = parse_yaml(text, "text")
    if not isinstance(content, (dict, list)):
        return content
    from detkit.engine.config.old_configs import modernize

    if isinstance(content, list):
        return [modernize(one) if isinstance(one, dict) else one for one in content]
    return modernize(content)


MISSING = r"the following arguments are required: (?P<names>.+)"
"""jsonargparse's message of a command line without its required arguments."""

set_loader(CONFIG, _load_config, (InputError,))


def command_parser(name: str, usage: str, description: str, program: str = "detkit") -> ArgumentParser:
    """Make the parser of ``detkit name``, or of another `program`; it raises errors and does not exit."""
    return ResolvingParser(
        prog=f"{program} {name}".rstrip(),
        usage=f"{program} {name}".rstrip() + f" {usage}",
        description=description,
        exit_on_error=False,
        allow_abbrev=False,
        formatter_class=HelpFormatter,
        parser_mode=CONFIG,
    )


def parse(parser: ArgumentParser, argv: Sequence[str]) -> Namespace:
    """Parse the command line `argv`.

    Raises:
        InputError: one sentence that names the wrong key, where it was given and the nearest valid keys.
    """
    try:
        parsed = parser.parse_args(list(argv))
    except ArgumentError as error:
        if hint := _without_option(parser, argv):
            raise InputError(hint) from error
        if missing := re.fullmatch(MISSING, str(error)):
            raise InputError(f"{missing['names']} must be given: {parser.usage}") from error
        from detkit.engine.config.old_configs import modernize_arguments
        from detkit.engine.config.parse_errors import describe_parse_error

        modern = modernize_arguments(argv)
        if modern != list(argv):
            return parse(parser, modern)
        raise InputError(describe_parse_error(error, parser, argv)) from error
    restore_nulls(parsed)
    return parsed


_RUN = ("checkpoint", "run")
"""What commands call the argument without an option that is a checkpoint."""


def _without_option(parser: ArgumentParser, argv: Sequence[str]) -> str | None:
    """The sentence for an option whose value stands without one in this command, as in ``detkit report RUN``."""
    given = {argument.key for argument in declared_arguments(parser) if argument.is_positional}
    names = given.union(_RUN) if given.intersection(_RUN) else given
    for at, argument in enumerate(argv):
        option, _, value = argument.partition("=")
        if option.startswith("--") and option[2:] in names:
            value = value or next(iter(argv[at + 1 : at + 2]), option[2:].upper())
            return f"The command line has no option {option}; did you mean {parser.prog} {value}?"
    return None


class ParsedCommand:
    """A parsed command line. The rest of the engine gets typed options and built objects from it.

    Args:
        parser: what it was parsed with.
        config: the result of parsing.
        argv: the command line itself.

    Raises:
        InputError: a number is out of its range, or there is a null in place of a value.
    """

    def __init__(self, parser: ArgumentParser, config: Namespace, argv: Sequence[str] = ()) -> None:
        check_nulls(parser, config.as_dict())
        check_values(config.as_dict())
        self.parser, self.config, self.argv = parser, config, list(argv)

    @classmethod
    def of(cls, parser: ArgumentParser, argv: Sequence[str]) -> ParsedCommand:
        """Parse `argv`; raises as `parse`."""
        return cls(parser, parse(parser, argv), argv)

    def options(self, kind: type[Options]) -> Options:
        """The values of the arguments that a dataclass has as fields, classes in them as plain entries."""
        # `fields` takes dataclasses, which a type variable cannot demand.
        return kind(**{one.name: _plain(self.config[one.name]) for one in fields(kind)})  # type: ignore[arg-type]

    def build(self) -> dict[str, Any]:
        """The sections and arguments by name, with all classes built.

        Raises:
            InputError: a constructor refuses its arguments.
        """
        return dict(vars(build(self.parser, self.config)))

    def dump(self, style: str, without: Collection[str] = ()) -> str:
        """The config as text, apart from some arguments.

        Args:
            style: ``"yaml"`` or ``"json"``.
            without: names of arguments to leave out.
        """
        config = self.config.clone()
        for name in without:
            config.pop(name, None)
        return self.parser.dump(config, format=style, skip_unset=False, skip_validation=True)


def _plain(value: Any) -> Any:
    if isinstance(value, Namespace):
        return value.as_dict()
    return [_plain(one) for one in value] if isinstance(value, list) else value


def check_precision(key: str, precision: str | int | None) -> None:
    """Refuse a precision in which boxes would not be float32.

    Raises:
        InputError: it names `key` and the valid values.
    """
    known = ("32-true", "bf16-mixed", "16-mixed")
    if precision not in (None, "32", 32, *known):
        raise InputError(f"{key} is {precision}: choose one of {', '.join(known)}.")


def write_json(path: str | Path, content: Any) -> None:
    """Write a JSON file in one step: it appears whole or not at all.

    Raises:
        InputError: the disk is full or the folder cannot be written.
    """
    write_whole(path, json_text(content))
