"""The bytes that a glTF file's views name: in its own chunk, in data URIs, or in files beside it."""

from __future__ import annotations

import base64
import os
import re
from urllib.parse import unquote, unquote_to_bytes

from detkit.errors import InputError
from detkit.files import read_bytes
from detkit.files.json_values import shortened
from detkit.mesh_files.gltf.gltf_entries import Entry


class GltfBuffers:
    """The buffers of a document, each read once, when it is first named.

    Args:
        document: of the file.
        binary: the binary chunk of a GLB file.
        size: of the file, in bytes.

    Attributes:
        size: of all that was read so far, in bytes.
    """

    def __init__(self, document: Entry, binary: bytes | None, size: int) -> None:
        self._document = document
        self._binary = binary
        self._read: dict[int, bytes] = {}
        self.size = size

    def view(self, index: int) -> tuple[memoryview, int | None]:
        """The bytes of a buffer view, and the distance of its rows where it says one.

        Raises:
            InputError: a buffer cannot be read, or is shorter than its view.
        """
        view = self._document.member("bufferViews", index)
        number, start, length = view.whole("buffer"), view.whole("byteOffset", 0), view.whole("byteLength", least=1)
        content = self._buffer(number)
        if start + length > len(content):
            raise InputError(
                f"{view.path}: {view.name} ends at byte {start + length} of buffers[{number}], which has "
                f"{len(content)}; export the file again"
            )
        stride = view.whole("byteStride", least=1) if "byteStride" in view.values else None
        return memoryview(content)[start : start + length], stride

    def _buffer(self, index: int) -> bytes:
        if index not in self._read:
            entry = self._document.member("buffers", index)
            content = self._content(entry, index)
            length = entry.whole("byteLength", least=1)
            if length > len(content):
                raise InputError(
                    f"{entry.path}: {entry.name} has {len(content)} bytes in place of {length}; copy the file again"
                )
            self._read[index] = content[:length]
        return self._read[index]

    def _content(self, entry: Entry, index: int) -> bytes:
        if "uri" not in entry.values:
            if index or self._binary is None:
                raise InputError(f"{entry.path}: {entry.name} has no 'uri', and no binary chunk; export the file again")
            return self._binary
        uri = entry.text("uri", "")
        if uri[:5].lower() == "data:":
            return _data_of(entry, uri)
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:|/|\\", uri):
            raise InputError(
                f"{entry.path}: {entry.name} is {shortened(uri, 60)!r}, which is no file beside this one; put it there "
                "and name it"
            )
        file = os.path.join(os.path.dirname(entry.path), unquote(uri))
        if not os.path.isfile(file):  # a device could be read without end
            raise InputError(
                f"{entry.path}: {entry.name} is the file {shortened(uri, 60)!r}, which does not exist; put it beside "
                "this one"
            )
        content = read_bytes(file, "a buffer of a glTF file")
        self.size += len(content)
        return content


def _data_of(entry: Entry, uri: str) -> bytes:
    """The bytes that a data URI holds."""
    kind, comma, data = uri.partition(",")
    try:
        if comma and kind.lower().endswith(";base64"):
            return base64.b64decode(unquote_to_bytes(data), validate=True)
        if comma:
            return unquote_to_bytes(data)
    except ValueError:  # no base64
        pass
    raise InputError(f"{entry.path}: {entry.name} has a data URI that is no base64; export the file again")
