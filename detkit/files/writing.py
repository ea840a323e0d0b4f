"""Atomic writing of files."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from detkit.errors import InputError

_ENDING = ".unfinished"


def write_whole(path: str | Path, content: bytes | str) -> None:
    """Write a file atomically, and create its folders: an existing file stays until the new one is complete.

    Args:
        path: of the file.
        content: text is written as UTF-8.

    Raises:
        InputError: it cannot be written; the message names the file and the reason, such as a full disk.
    """
    with open_whole(path) as file:
        file.write(content.encode("utf-8") if isinstance(content, str) else content)


@contextmanager
def open_whole(path: str | Path) -> Iterator[IO[bytes]]:
    """A file to write bytes to that takes its place at `path` when the block ends, and never if the block fails.

    Raises:
        InputError: it cannot be written; the message names the file and the reason, such as a full disk.
    """
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}{_ENDING}")
    with _said(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _said(path), open(unfinished, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        with _said(path):
            os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def os_error_of(error: BaseException | None) -> OSError | None:
    """The error of the operating system from which an error has come: libraries raise others in its place."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


def remove_unfinished(folder: Path) -> None:
    """Remove unfinished files that killed processes left in `folder`; no other process may be writing there."""
    for path in folder.glob(f".*{_ENDING}"):
        path.unlink(missing_ok=True)


@contextmanager
def _said(path: Path) -> Iterator[None]:
    """Turn an `OSError` into the sentence that a user can act on."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        advice = "free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "check the path and its rights"
        raise InputError(f"{path} cannot be written ({reason}); {advice} and try again.") from error
