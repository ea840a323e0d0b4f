"""A glTF file's two forms: JSON alone, or a GLB of chunks, one of JSON and one of bytes."""

from __future__ import annotations

import struct
from pathlib import Path

from detkit.errors import InputError
from detkit.files import json_text, parse_json
from detkit.files.json_values import shortened, shown
from detkit.mesh_files.gltf.gltf_entries import Entry

_MAGIC = b"glTF"
_JSON = 0x4E4F534A
_BINARY = 0x004E4942
_LARGEST = 2**32 - 1

COMPRESSIONS = {
    "KHR_draco_mesh_compression": "Draco",
    "EXT_meshopt_compression": "meshopt",
    "KHR_meshopt_compression": "meshopt",
}
"""The extensions that hold vertices in another form, and its name."""
_HARMLESS = ("KHR_materials_", "KHR_texture_", "EXT_texture_", "MSFT_texture_", "KHR_lights_", "EXT_lights_")
"""Beginnings of the names of extensions that leave triangles alone."""
_READ = {"KHR_mesh_quantization"}


def parse_container(path: str | Path, content: bytes) -> tuple[Entry, bytes | None]:
    """The JSON document of a file's content, checked for its version and extensions, and the binary chunk of a GLB.

    Raises:
        InputError: it is no glTF 2.0, is cut off, or requires an extension that is not read.
    """
    text, binary = _chunks(path, content) if content.startswith(_MAGIC) else (content, None)
    values = parse_json(text, str(path))
    if not isinstance(values, dict):
        raise InputError(f"{path}: this is no glTF file, its JSON is {shown(values, 40)}; give another file")
    document = Entry(path, "", values)
    asset = document.entry("asset")
    if asset is None:
        raise InputError(f"{path}: this is no glTF file, its JSON has no 'asset'; give another file")
    version, least = asset.text("version", ""), asset.text("minVersion", "2.0")
    if version.split(".")[0] != "2" or least != "2.0":
        needed = shortened(version if least == "2.0" else least, 20)
        raise InputError(f"{path}: this is glTF {needed!r}, and 2.0 is read; export it as glTF 2.0")
    for name in document.texts("extensionsRequired"):
        if name in COMPRESSIONS:
            raise compressed(path, name)
        if name not in _READ and not name.startswith(_HARMLESS):
            raise InputError(
                f"{path}: it requires the extension {shortened(name, 60)!r}, which is not read; export it without"
            )
    return document, binary


def compressed(path: str | Path, extension: str) -> InputError:
    """The sentence of a file whose meshes cannot be read without one of `COMPRESSIONS`."""
    return InputError(
        f"{path}: its meshes are compressed with {COMPRESSIONS[extension]} ({extension}), which is not read; "
        "export it without compression"
    )


def packed_glb(path: str | Path, document: dict[str, object], binary: bytes) -> bytes:
    """The content of a GLB file.

    Raises:
        InputError: it is longer than the format allows.
    """
    text = json_text(document).encode()
    chunks = [(_JSON, text + b" " * (-len(text) % 4))]
    if binary:
        chunks.append((_BINARY, binary + b"\0" * (-len(binary) % 4)))
    length = 12 + sum(8 + len(body) for _, body in chunks)
    if length > _LARGEST:
        raise InputError(f"{path}: these meshes need {length} bytes, and a GLB file holds 4 GiB; write several files")
    parts = [_MAGIC, struct.pack("<II", 2, length)]
    for kind, body in chunks:
        parts += [struct.pack("<II", len(body), kind), body]
    return b"".join(parts)


def _chunks(path: str | Path, content: bytes) -> tuple[bytes, bytes | None]:
    """The JSON and the binary chunk; chunks of other types, which extensions may add, are skipped."""
    if len(content) < 20:
        raise _cut_off(path)
    version, length = struct.unpack_from("<II", content, 4)
    if version != 2:
        raise InputError(f"{path}: this is a GLB file of version {version}, and 2 is read; export it as glTF 2.0")
    if length > len(content):
        raise _cut_off(path)
    found: dict[int, bytes] = {}
    position = 12
    while position + 8 <= length:
        size, kind = struct.unpack_from("<II", content, position)
        if position + 8 + size > length:
            raise _cut_off(path)
        found.setdefault(kind, content[position + 8 : position + 8 + size])
        position += 8 + size
    if _JSON not in found:
        raise InputError(f"{path}: this GLB file has no chunk of JSON; export it again")
    return found[_JSON], found.get(_BINARY)


def _cut_off(path: str | Path) -> InputError:
    return InputError(f"{path}: this GLB file is cut off; copy it again")
