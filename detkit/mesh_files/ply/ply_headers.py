"""The header of a PLY file: its encoding, and the types of its elements' properties."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from detkit.errors import InputError
from detkit.files.json_values import shortened

_TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4",
    "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4",
    "int64": "i8", "uint64": "u8", "float16": "f2", "float32": "f4", "float64": "f8",
}  # fmt: skip
"""numpy's codes of the types; those of 64 bits and float16 are no part of the format, and are in use."""

_BYTE_ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}


@dataclass(frozen=True)
class Property:
    """A value, or a list of them, that each row of an element has.

    Args:
        name: such as ``x``.
        code: numpy's code of its type, without the byte order: ``f4``.
        count_code: of a list, the code of its length's type; "" for a single value.
    """

    name: str
    code: str
    count_code: str = ""


@dataclass
class Element:
    """A table of the file: its name, its number of rows and their properties, in the order of the file."""

    name: str
    count: int
    properties: list[Property] = field(default_factory=list)


@dataclass(frozen=True)
class Header:
    """What a header says.

    Args:
        byte_order: numpy's sign of it, ``<`` or ``>``; "" for text.
        elements: in the order of the file.
        size: of the header in bytes.
        lines: of the header.
    """

    byte_order: str
    elements: list[Element]
    size: int
    lines: int


def read_header(path: str | Path, content: bytes) -> Header:
    """The header at the beginning of a file's content.

    Raises:
        InputError: it is no header of a PLY file; the message names the line.
    """
    begun = re.match(rb"ply[ \t]*(\r\n|\r|\n)", content)
    if begun is None:
        raise InputError(f"{path}: this is no PLY file, whose first line is 'ply'; give another file")
    line_end, position, number = begun[1], begun.end(), 1
    byte_order: str | None = None
    elements: list[Element] = []
    while True:
        number += 1
        end = content.find(line_end, position)
        if end < 0:
            raise InputError(f"{path}: this PLY file ends within its header, without 'end_header'; copy it again")
        line = content[position:end].decode("latin-1").strip()
        keyword, *words = line.split() or [""]
        position = end + len(line_end)
        if keyword == "end_header":
            break
        if keyword == "format" and byte_order is None and len(words) == 2 and words[0] in _BYTE_ORDERS:
            byte_order = _BYTE_ORDERS[words[0]]
        elif keyword == "element" and len(words) == 2 and re.fullmatch(r"[0-9]{1,18}", words[1]):
            elements.append(Element(words[0], int(words[1])))
        elif keyword == "property" and elements:
            elements[-1].properties.append(_property(path, number, words))
        elif keyword not in ("", "comment", "obj_info"):
            raise InputError(
                f"{path}, line {number}: {shortened(line, 60)!r} is no line of a PLY header, such as 'element vertex 8'"
            )
    if byte_order is None:
        raise InputError(f"{path}: the header has no line 'format ascii 1.0' or such; add it, or export the file again")
    return Header(byte_order, elements, position, number)


def _property(path: str | Path, line: int, words: list[str]) -> Property:
    is_list = words[:1] == ["list"]
    if len(words) != (4 if is_list else 2):
        raise InputError(
            f"{path}, line {line}: a property is written 'property float x' or 'property list uchar int vertex_indices'"
        )
    codes = [_TYPES.get(word, "") for word in words[is_list:-1]]
    if "" in codes or (is_list and codes[0].startswith("f")):
        wrong = shortened(" ".join(words[is_list:-1]), 40)
        raise InputError(
            f"{path}, line {line}: a property of type {wrong!r} cannot be read; types are char, short, int, float, "
            "double or such as uint8 and float32, and lengths of lists are whole numbers"
        )
    return Property(words[-1], codes[-1], codes[0] if is_list else "")
