"""The parser of recorded configs: text in them stays text, so that nothing hides in it from the checks of trust."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from jsonargparse import ArgumentParser, Namespace, set_loader

_TEXT = "detkit_text"


def _refuse(text: str) -> Any:
    raise ValueError("text in a recorded config is not read as a config")


# jsonargparse reads text that stands for a class or a mapping as YAML, or as the path of a file with it. A recorded
# config was resolved before: it has no text for mappings. Numbers and truth values are read without this function.
set_loader(_TEXT, _refuse, (ValueError,))


def record_parser() -> ArgumentParser:
    """A parser of resolved configs; declare classes in it without ``sub_configs``, which would read files."""
    return ArgumentParser(exit_on_error=False, parser_mode=_TEXT, default_env=False)


def parse_record(parser: ArgumentParser, config: Mapping[str, Any]) -> Namespace:
    """Parse plain values, and nothing from files or the environment.

    Raises:
        jsonargparse.ArgumentError: they do not fit the arguments of their classes.
    """
    return parser.parse_object(copy.deepcopy(dict(config)), env=False)
