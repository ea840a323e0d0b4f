"""glTF documents for tests, put together part by part by the specification."""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

COMPONENTS = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "u4": 5125, "f4": 5126}


class Document:
    """A document with one buffer; `parts` may be changed before it is written."""

    def __init__(self) -> None:
        self.binary = b""
        self.parts: dict[str, Any] = {"asset": {"version": "2.0"}, "bufferViews": [], "accessors": []}

    def view(self, content: bytes, **more: Any) -> int:
        self.binary += b"\0" * (-len(self.binary) % 4)
        self.parts["bufferViews"].append(
            {"buffer": 0, "byteOffset": len(self.binary), "byteLength": len(content), **more}
        )
        self.binary += content
        return len(self.parts["bufferViews"]) - 1

    def accessor(self, rows: Any, code: str, **more: Any) -> int:
        """An accessor of rows of one or three numbers, packed in a view of its own unless `more` names one."""
        table = np.array(rows, dtype="<" + code)
        entry = {
            "componentType": COMPONENTS[code],
            "count": len(table),
            "type": "VEC3" if table.ndim == 2 else "SCALAR",
        }
        if "bufferView" not in more and "sparse" not in more:
            entry["bufferView"] = self.view(table.tobytes())
        self.parts["accessors"].append(entry | more)
        return len(self.parts["accessors"]) - 1

    def mesh(self, *primitives: dict[str, Any], **node: Any) -> None:
        """A mesh, and a node of the scene that shows it."""
        self.parts.setdefault("meshes", []).append({"primitives": list(primitives)})
        self.parts.setdefault("nodes", []).append({"mesh": len(self.parts["meshes"]) - 1, **node})
        self.parts["scenes"] = [{"nodes": list(range(len(self.parts["nodes"])))}]

    def write(self, path: Path, form: str = "data") -> Path:
        """Write the document with its buffer as a data URI, a file beside it, or a chunk."""
        buffer: dict[str, Any] = {"byteLength": len(self.binary)}
        if form == "data":
            buffer["uri"] = "data:application/octet-stream;base64," + base64.b64encode(self.binary).decode()
        elif form == "file":
            path.with_name("its buffer.bin").write_bytes(self.binary)
            buffer["uri"] = "its%20buffer.bin"
        self.parts.setdefault("buffers", [buffer] if self.binary else [])
        text = json.dumps({key: value for key, value in self.parts.items() if value != []}).encode()
        path.write_bytes(glb(text, self.binary) if form == "chunk" else text)
        return path


def glb(text: bytes, binary: bytes) -> bytes:
    chunks = b""
    for kind, body, filler in ((b"JSON", text, b" "), (b"BIN\0", binary, b"\0")):
        padded = body + filler * (-len(body) % 4)
        chunks += struct.pack("<I", len(padded)) + kind + padded
    return b"glTF" + struct.pack("<II", 2, 12 + len(chunks)) + chunks


SQUARE = [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]
SQUARE_FACES = [[0, 1, 2], [0, 2, 3]]


def square(**primitive: Any) -> Document:
    """A square of two triangles."""
    document = Document()
    positions = document.accessor(SQUARE, "f4")
    indices = document.accessor(np.ravel(SQUARE_FACES), "u1")
    document.mesh({"attributes": {"POSITION": positions}, "indices": indices, **primitive})
    return document
