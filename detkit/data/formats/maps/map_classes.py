"""The classes of label maps, and the pixel values or colors that stand for them, from a file of the folder."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detkit.errors import InputError
from detkit.files import read_json
from detkit.files.json_values import shown
from detkit.files.text_documents import read_lines
from detkit.structures import Category

CLASS_FILES = ("classes.json", "classes.txt", "labels.txt", "class_dict.csv", "labelmap.txt", "label_colors.txt")

Color = tuple[int, int, int]

_COLOR = re.compile(r"^(?P<name>.*?)[\s,:;=]+(?P<red>\d{1,3})[\s,]+(?P<green>\d{1,3})[\s,]+(?P<blue>\d{1,3})[\s:]*$")
_COLOR_FIRST = re.compile(r"^(?P<red>\d{1,3})\s+(?P<green>\d{1,3})\s+(?P<blue>\d{1,3})\s+(?P<name>\S.*)$")


@dataclass(frozen=True)
class MapClasses:
    """The classes of label maps.

    Args:
        categories: in the order of the labels.
        values: the label of each pixel value.
        ignored: the pixel values that mean no class.
        colors: the label of each color; empty where maps hold values.
        ignored_colors: the colors that mean no class.
        uses_palette: whether the colors of an indexed image count, where classes have colors, and not its indices.
        source: where the classes are listed, for messages.
    """

    categories: Sequence[Category]
    values: Mapping[int, int]
    ignored: frozenset[int] = frozenset({255})
    colors: Mapping[Color, int] = field(default_factory=dict)
    ignored_colors: frozenset[Color] = frozenset()
    uses_palette: bool = True
    source: str = "the format"


def listed_map_classes(
    names: Sequence[str], colors: Sequence[Color | None] = (), first_value: int = 0, **others: Any
) -> MapClasses:
    """The classes of these names, whose pixel values count from `first_value`, with ids equal to the values.

    Args:
        names: in the order of the labels.
        colors: of the classes, for drawing.
        first_value: 1 where the value 0 means no class.
        others: arguments of `MapClasses`.
    """
    shown_colors = [*colors, *[None] * (len(names) - len(colors))]
    categories = [
        Category(first_value + label, name, color=color)
        for label, (name, color) in enumerate(zip(names, shown_colors, strict=True))
    ]
    return MapClasses(categories, {category.id: label for label, category in enumerate(categories)}, **others)


def reduced(classes: MapClasses) -> MapClasses:
    """The classes where the value 0 means no class, and the value 1 the first class."""
    values = {value + 1: label for value, label in classes.values.items()}
    return MapClasses(classes.categories, values, classes.ignored | {0}, source=classes.source)


def read_map_classes(
    root: Path, names: Sequence[str] | None = None, reduce_zero_label: bool | None = None
) -> MapClasses:
    """The classes of a folder of label maps: those in the first of `CLASS_FILES` that it has, or `names`.

    Args:
        root: the folder.
        names: without a file, the classes by their pixel value, the first has 0; with one, what it must list.
        reduce_zero_label: whether the value 0 means no class and 1 is the first; None: what the file says, else no.

    Raises:
        InputError: there is no such file and no names, the file is wrong, or it lists others.
    """
    path = next((root / name for name in CLASS_FILES if (root / name).is_file()), None)
    if path is not None:
        classes, reduces = _of_file(path)
        _check_same(classes, names, path)
    elif names is not None:
        classes, reduces = _of_entries([(name, None, None, True) for name in names], "data.class_names"), False
    else:
        raise InputError(
            f"{root}: the classes of its maps are not known: write {root / 'classes.txt'} with a class a line, that of "
            "the value 0 first, each with its red, green and blue where maps are in color; or give --data.class_names"
        )
    return reduced(classes) if (reduces if reduce_zero_label is None else reduce_zero_label) else classes


def _of_file(path: Path) -> tuple[MapClasses, bool]:
    """The classes of a file, and whether its value 0 means no class."""
    if path.suffix == ".json":
        return _of_json(read_json(path), str(path))
    return _of_entries(_entries([line for _, line in read_lines(path)], path), str(path)), False


def _check_same(classes: MapClasses, names: Sequence[str] | None, path: Path) -> None:
    """Refuse names that are not those of the file, which knows the values of the pixels."""
    listed = [category.name for category in classes.categories]
    if names is not None and list(names) != listed:
        raise InputError(
            f"{path} lists the classes {listed}, but {list(names)} are given, by data.class_names or as those of the "
            "main data; list the same in the same order of their values"
        )


def _entries(lines: Sequence[str], path: Path) -> list[_Entry]:
    """The classes of a text file: ``name``, ``name R G B``, ``name,R,G,B`` or CVAT's ``name:R,G,B::``."""
    if path.suffix == ".csv" and lines and "," in lines[0] and not any(map(str.isdigit, lines[0])):
        lines = lines[1:]  # the names of the columns
    entries: list[_Entry] = []
    for line in lines:
        if line.startswith("#"):
            continue
        match = _COLOR.match(line) or _COLOR_FIRST.match(line)
        if match is None:
            entries.append((line, None, None, True))
        else:
            color = tuple(int(match[name]) for name in ("red", "green", "blue"))
            entries.append((match["name"].strip(" \t,:;="), None, color, True))
    return entries


_Entry = tuple[str, int | None, Any, bool]
"""The name of a class, its pixel value or None, its color or None, and whether it is a thing."""


def _of_json(content: Any, source: str) -> tuple[MapClasses, bool]:
    settings = content if isinstance(content, dict) else {"classes": content}
    unknown = sorted(set(settings) - {"classes", "ignore", "ignore_colors", "reduce_zero_label"})
    listed = settings.get("classes")
    if unknown or not isinstance(listed, list):
        raise InputError(
            f"{source}: a file of classes is a list, or an object with the keys classes, ignore, ignore_colors and "
            f"reduce_zero_label; {f'found {unknown[0]}' if unknown else 'the list classes is missing'}"
        )
    entries: list[_Entry] = []
    for one in listed:
        entry = {"name": one} if isinstance(one, str) else one
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise InputError(f"{source}: a class is a name or an object with the key 'name', not {shown(one)}")
        value = entry.get("value", entry.get("id"))
        if value is not None and (type(value) is not int or not 0 <= value < 65536):
            raise InputError(f"{source}: the value of {entry['name']!r} must be 0 to 65535, got {shown(value)}")
        entries.append((entry["name"], value, entry.get("color"), bool(entry.get("isthing", 1))))
    ignore = settings.get("ignore", [255])
    ignored = ignore if isinstance(ignore, list) else [ignore]
    if not all(type(value) is int for value in ignored):
        raise InputError(f"{source}: 'ignore' must be a pixel value or a list of them, got {shown(ignore)}")
    colors = [_checked_color(color, "ignore_colors", source) for color in settings.get("ignore_colors", ())]
    return _of_entries(entries, source, ignored, colors), bool(settings.get("reduce_zero_label", False))


def _of_entries(
    entries: Sequence[_Entry], source: str, ignored: Iterable[int] = (255,), ignored_colors: Iterable[Color] = ()
) -> MapClasses:
    names = [name for name, *_ in entries]
    if not names:
        raise InputError(f"{source}: it lists no class; write a class a line, that of the value 0 first")
    if len(set(names)) != len(names) or not all(name.strip() for name in names):
        twice = next((name for name in names if names.count(name) > 1), "")
        raise InputError(f"{source}: classes need names, each its own{f'; {twice!r} is listed twice' if twice else ''}")
    values = [number if value is None else value for number, (_, value, *_) in enumerate(entries)]
    if len(set(values)) != len(values):
        raise InputError(f"{source}: two classes have the same value; give each its own")
    given = [None if color is None else _checked_color(color, name, source) for name, _, color, _ in entries]
    colors = {color: label for label, color in enumerate(given) if color is not None}
    if colors and (None in given or len(colors) != len(given)):
        odd = (
            names[given.index(None)]
            if None in given
            else next(name for name, color in zip(names, given, strict=True) if given.count(color) > 1)
        )
        raise InputError(f"{source}: give all classes a color of their own, or none; see {odd!r}")
    order = sorted(range(len(values)), key=values.__getitem__)
    categories = [Category(values[row], names[row], entries[row][3], given[row]) for row in order]
    label_of = {row: label for label, row in enumerate(order)}
    return MapClasses(
        categories,
        {values[row]: label for row, label in label_of.items()},
        frozenset(ignored) - set(values),
        {color: label_of[row] for color, row in colors.items()},
        frozenset(ignored_colors),
        source=source,
    )


def _checked_color(color: Any, name: str, source: str) -> Color:
    values = list(color) if isinstance(color, (list, tuple)) else []
    if len(values) != 3 or not all(type(value) is int and 0 <= value <= 255 for value in values):
        raise InputError(f"{source}: the color of {name!r} must be red, green and blue in 0..255, got {shown(color)}")
    red, green, blue = values
    return red, green, blue
