"""Reading what `torch.save` has written, without running code from it and with the archive's checksums compared."""

from __future__ import annotations

import mmap
import pickle
import struct
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch

from detkit.errors import InputError, first_line

_CHECKERS = 2
"""Threads that compare checksums."""


def read_torch(path: str | Path, kind: str, advice: str) -> Any:
    """The content of a file of `torch.save`, on the CPU: plain values and tensors.

    Args:
        path: of the file.
        kind: what the file should be, for messages: ``"checkpoint"``.
        advice: what to do where it holds more than weights and plain values.

    Raises:
        InputError: it cannot be read, is damaged or truncated, or would run code.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise InputError(f"{kind} {path} does not exist{' as a file' if path.exists() else ''}")
        if zipfile.is_zipfile(path):
            check_archive(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{kind} {path} is refused: it is no {kind} or holds more than weights and plain values, {advice}"
        ) from error
    except PermissionError as error:
        raise InputError(f"{kind} {path} cannot be read: its rights do not allow it") from error
    except Exception as error:  # zipfile and torch end with errors of any type where a file is damaged
        reason = first_line(error)
        raise InputError(f"{kind} {path} cannot be read, it is truncated, damaged or no {kind}: {reason}") from error


def check_archive(path: Path) -> None:
    """Compare the content of a zip archive with its checksums, which torch writes but does not read.

    Raises:
        InputError: it is compressed, which torch's never are: a small file could fill the memory; or it has an entry
            twice, of which readers take one or the other.
        zipfile.BadZipFile: they differ.
    """
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    if any(one.compress_type != zipfile.ZIP_STORED for one in entries) or (
        sum(one.file_size for one in entries) > path.stat().st_size
    ):
        raise InputError(f"{path} is no file of torch: it is a compressed archive")
    if len({one.filename for one in entries}) < len(entries):
        raise InputError(f"{path} is no file of torch: its archive has an entry twice")
    with (
        open(path, "rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as content,
        ThreadPoolExecutor(_CHECKERS) as pool,
    ):
        list(pool.map(partial(_check_entry, content), entries))


def _check_entry(archive: memoryview, entry: zipfile.ZipInfo) -> None:
    """Compare an entry of an archive with its checksum, without a copy: it is read from the mapped file.

    Raises:
        zipfile.BadZipFile: they differ.
    """
    begin = entry.header_offset
    if begin + 30 > len(archive):
        raise zipfile.BadZipFile(f"{entry.filename} is not where the archive says")
    begin += 30 + sum(struct.unpack_from("<HH", archive, begin + 26))  # the lengths of its name and of more about it
    with archive[begin : begin + entry.file_size] as content:
        if len(content) < entry.file_size or zlib.crc32(content) != entry.CRC:
            raise zipfile.BadZipFile(f"Bad CRC-32 for file {entry.filename!r}")
