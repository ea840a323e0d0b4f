"""Reading XML files that hold data: any encoding, no entities of their own, no deep nesting."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any
from xml.parsers import expat

from detkit.errors import InputError
from detkit.files.file_bytes import read_bytes
from detkit.files.text_documents import decoded

_DEEPEST = 100
_DECLARATION = re.compile(rb"""\s*<\?xml[^>]*?encoding\s*=\s*["']([\w.-]+)["']""", re.ASCII)
_LARGER = {"gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "euc_kr": "cp949"}
"""The encodings that programs write where they declare a part of them."""


class Element:
    """An XML element: its tag, its attributes, its own text, the line it begins in (0: it is not there), and the
    elements in it."""

    __slots__ = ("_children", "attributes", "line", "tag", "text")

    def __init__(self, tag: str, line: int = 0, attributes: Mapping[str, str] = MappingProxyType({})) -> None:
        self.tag, self.line, self.attributes, self.text = tag, line, attributes, ""
        self._children: list[Element] = []

    def add(self, child: Element) -> None:
        """Append `child`."""
        self._children.append(child)

    def child(self, tag: str) -> Element:
        """The first child of that tag, or an empty one."""
        for child in self._children:
            if child.tag == tag:
                return child
        return Element(tag)

    def only_child(self) -> Element:
        """The first child of any tag, or an empty one."""
        return self._children[0] if self._children else Element("")

    def children(self, tag: str | None = None) -> Iterator[Element]:
        """The children of that tag; None: all."""
        return (child for child in self._children if tag is None or child.tag == tag)


def read_xml(path: str | Path) -> Element:
    """The root element of an XML file.

    Raises:
        InputError: it cannot be read or is not XML; the message names the line.
    """
    return parse_xml(read_bytes(path, "an XML file"), str(path))


def parse_xml(content: bytes, name: str) -> Element:
    """The root element of an XML text; messages say `name`.

    The text is in the encoding that it declares, or in UTF-8, UTF-16 or UTF-32.

    Raises:
        InputError: it is not XML, declares entities, or is nested too deeply; the message names the line.
    """
    document = Element("")
    open_elements = [document]

    def start(tag: str, attributes: dict[str, str]) -> None:
        element = Element(tag, parser.CurrentLineNumber, attributes)
        open_elements[-1].add(element)
        open_elements.append(element)
        if len(open_elements) > _DEEPEST:
            raise InputError(f"{name}:{element.line}: the elements of this XML file are nested too deeply")

    def end(_tag: str) -> None:
        element = open_elements.pop()
        element.text = element.text.strip()

    def text(data: str) -> None:
        open_elements[-1].text += data

    def entity(*_declaration: Any) -> None:
        raise InputError(f"{name}:{parser.CurrentLineNumber}: entities of its own are not read; write out their text")

    parser = expat.ParserCreate("utf-8")  # whatever the file declares
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, text
    parser.EntityDeclHandler = parser.SkippedEntityHandler = entity
    content = _in_utf8(content, name)
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise InputError(f"{name}:{error.lineno}: this is not XML ({expat.ErrorString(error.code)})") from error
    return document.only_child()


def _in_utf8(content: bytes, name: str) -> bytes:
    """The text in UTF-8.

    Raises:
        InputError: it is not in the encoding that it declares.
    """
    declaration = _DECLARATION.match(content)
    declared = declaration.group(1).decode().lower() if declaration else "utf-8"
    if not declared.startswith(("utf", "ucs")):  # a text that declares UTF-16 in single bytes is not in UTF-16
        try:
            return content.decode(_LARGER.get(declared, declared)).encode()
        except LookupError:
            raise InputError(f"{name}:1: the encoding {declared} is not known; save this file in UTF-8") from None
        except ValueError:
            raise InputError(f"{name}:1: this text is not in {declared}, which it declares; save it in UTF-8") from None
    return content if content.isascii() and b"\0" not in content else decoded(content, name).encode()
