"""The arguments that a parser declares: the one use of a private name, since argparse has no public list of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from jsonargparse import ArgumentParser


class DeclaredArgument(NamedTuple):
    """An argument of a parser.

    Args:
        key: dotted, as in a config.
        default: its value where none is given.
        hint: its type; None: not known.
        is_positional: it is given without an option.
    """

    key: str
    default: Any
    hint: Any
    is_positional: bool


def declared_arguments(parser: ArgumentParser) -> Iterator[DeclaredArgument]:
    """All arguments of `parser`."""
    for action in parser._actions:
        hint = getattr(action, "_typehint", None)
        yield DeclaredArgument(action.dest, action.default, hint, not action.option_strings)
