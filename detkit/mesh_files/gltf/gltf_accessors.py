"""Accessors: the tables of numbers that a glTF document describes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.errors import InputError
from detkit.mesh_files.gltf.gltf_buffers import GltfBuffers
from detkit.mesh_files.gltf.gltf_entries import Entry
from detkit.mesh_files.mesh_parts import Floats, Integers

_CODES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC3": 3}


def positions_of(document: Entry, buffers: GltfBuffers, index: int) -> Floats:
    """``(V, 3)`` float64 of an accessor of positions, also of whole numbers (``KHR_mesh_quantization``).

    Raises:
        InputError: it is no such accessor, or its data cannot be read.
    """
    accessor = document.member("accessors", index)
    values = _table(accessor, buffers, "VEC3")
    with np.errstate(invalid="ignore"):  # of NaN, which `mesh_of_file` refuses
        positions = values.astype(np.float64)
    if accessor.values.get("normalized") is True and values.dtype.kind != "f":
        positions = np.maximum(positions / np.iinfo(values.dtype).max, -1)
    return positions


def indices_of(document: Entry, buffers: GltfBuffers, index: int) -> Integers:
    """``(N,)`` int64 of an accessor of indices.

    Raises:
        InputError: it is no such accessor, or its data cannot be read.
    """
    accessor = document.member("accessors", index)
    values = _table(accessor, buffers, "SCALAR")
    if values.dtype.kind != "u":
        raise accessor.wrong("componentType", "5121, 5123 or 5125 for indices")
    return values.reshape(-1).astype(np.int64)


def _table(accessor: Entry, buffers: GltfBuffers, kind: str) -> NDArray[Any]:
    """``(N, width)`` the rows of an accessor, its sparse ones put in."""
    if accessor.text("type", "") != kind:
        raise accessor.wrong("type", repr(kind))
    count, width = accessor.whole("count", least=1), _WIDTHS[kind]
    code = _code(accessor)
    sparse = accessor.entry("sparse")
    rows, values = _sparse(sparse, buffers, count, code, width) if sparse else (None, None)
    if "bufferView" in accessor.values:
        table = _viewed(accessor, buffers, count, code, width)
    elif count > buffers.size:
        raise InputError(
            f"{accessor.path}: {accessor.name} has {count} rows without data, more than the file has bytes; "
            "export it again"
        )
    else:
        table = np.zeros((count, width), code)
    if rows is not None:
        table = table.copy()
        table[rows] = values
    return table


def _sparse(sparse: Entry, buffers: GltfBuffers, count: int, code: str, width: int) -> tuple[Integers, NDArray[Any]]:
    """The rows that are replaced, and their values."""
    replaced = sparse.whole("count", least=1)
    indices, values = sparse.entry("indices"), sparse.entry("values")
    if indices is None or values is None:
        raise sparse.wrong("values" if indices else "indices", "an object")
    index_code = _code(indices)
    if index_code[1] != "u":
        raise indices.wrong("componentType", "5121, 5123 or 5125")
    rows = _viewed(indices, buffers, replaced, index_code, 1).reshape(-1).astype(np.int64)
    if rows.max() >= count:
        raise InputError(
            f"{sparse.path}: {sparse.name} replaces row {rows.max()} of {count}, counted from 0; export the file again"
        )
    return rows, _viewed(values, buffers, replaced, code, width)


def _viewed(entry: Entry, buffers: GltfBuffers, count: int, code: str, width: int) -> NDArray[Any]:
    """``(count, width)`` rows in the buffer view of an entry; they share its memory."""
    content, stride = buffers.view(entry.whole("bufferView"))
    start = entry.whole("byteOffset", 0)
    item = np.dtype(code).itemsize
    step = width * item if stride is None else stride
    end = start + step * (count - 1) + width * item
    if step < width * item or end > len(content):
        wrong = f"rows of {width * item} bytes every {step}" if step < width * item else f"data up to byte {end}"
        raise InputError(
            f"{entry.path}: {entry.name} has {wrong}, and its buffer view has {len(content)} bytes; "
            "export the file again"
        )
    return np.ndarray((count, width), code, content, start, (step, item))


def _code(entry: Entry) -> str:
    number = entry.whole("componentType")
    if number not in _CODES:
        raise entry.wrong("componentType", f"one of {', '.join(map(str, _CODES))}")
    return _CODES[number]
