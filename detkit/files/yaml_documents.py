"""Reading YAML files, with the values of YAML 1.2: ``yes``, ``off``, ``1:30`` and dates are text, ``010`` is ten."""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from detkit.errors import InputError, one_line
from detkit.files.file_bytes import read_bytes

_MOST_VALUES = 1_000_000
"""What a file may hold with its aliases written out: nested anchors can make gigabytes of a few lines."""


class StrictLoader(yaml.SafeLoader):
    """Plain values only, no key twice, no cycles, no more values than fit into memory."""

    def compose_document(self) -> yaml.Node | None:
        node = super().compose_document()  # type: ignore[no-untyped-call]
        _count_values(node, {}, set())
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if (name := self.construct_object(key)) in seen:  # type: ignore[no-untyped-call]
                raise yaml.constructor.ConstructorError(None, None, f"the key {name!r} is there twice", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep=deep)


_TAG = "tag:yaml.org,2002:"
_DIGITS = list("-+0123456789")

StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.removeprefix(_TAG) in ("null", "merge", "value")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _name, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(?:0b[01_]+|0o[0-7_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*)", _DIGITS),
    ("float", r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?", [*_DIGITS, "."]),
    ("float", r"[-+]?[0-9]+[eE][-+]?[0-9]+", _DIGITS),
    ("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", list("-+.")),
):
    StrictLoader.add_implicit_resolver(_TAG + _name, re.compile(f"^(?:{_pattern})$"), _first)


def _construct_int(loader: StrictLoader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node)).replace("_", "").lower()  # type: ignore[no-untyped-call]
    return int(text, 0 if text.lstrip("-+")[:2] in ("0b", "0o", "0x") else 10)


StrictLoader.add_constructor(f"{_TAG}int", _construct_int)


class TextLoader(StrictLoader):
    """As `StrictLoader`, but numbers, dates and truth values stay the text that is written."""


TextLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] in ("null", "merge")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _count_values(node: yaml.Node | None, counts: dict[int, int], parents: set[int]) -> int:
    """The values of a node with its aliases written out.

    Raises:
        yaml.YAMLError: it holds itself, or there are too many.
    """
    if not isinstance(node, yaml.CollectionNode):
        return 1
    key = id(node)
    if key in parents:
        raise yaml.constructor.ConstructorError(None, None, "an alias stands inside of its own anchor", node.start_mark)
    if key not in counts:
        parents.add(key)
        children = node.value if isinstance(node, yaml.SequenceNode) else [part for pair in node.value for part in pair]
        counts[key] = 1 + sum(_count_values(child, counts, parents) for child in children)
        parents.discard(key)
    if counts[key] > _MOST_VALUES:
        raise yaml.constructor.ConstructorError(None, None, "its aliases repeat too many values", node.start_mark)
    return counts[key]


def read_yaml(path: str | Path, as_written: bool = False) -> Any:
    """The content of a YAML file in UTF-8 or UTF-16; see `parse_yaml`.

    Raises:
        InputError: it cannot be read, or is not YAML.
    """
    return parse_yaml(read_bytes(path, "a YAML file"), str(path), as_written)


def parse_yaml(content: bytes | str, name: str, as_written: bool = False) -> Any:
    """The value that a YAML text holds.

    Args:
        content: the text; as bytes in UTF-8 or UTF-16, with or without a byte order mark.
        name: of the file, for messages.
        as_written: numbers, dates and truth values stay text: ``1.10`` is no number that becomes 1.1.

    Raises:
        InputError: it is not YAML, has a key twice, or holds itself.
    """
    try:
        return yaml.load(content, TextLoader if as_written else StrictLoader)
    except RecursionError:
        raise InputError(f"{name}: lists or mappings are nested too deeply in this YAML file") from None
    # PyYAML raises others than its own for values that do not fit their tag, and dates that do not exist.
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise InputError(f"{name}: this is not YAML ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    """What is wrong in which line, without the text of the line."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return one_line(error)
    parts = [" ".join(part.split()) for part in (error.context, error.problem) if part]
    return f"{', '.join(parts)} in line {error.problem_mark.line + 1}"
