"""Atomic writing of files and folders: the one room that opens files for writing."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from detkit.errors import InputError, causes_of

_ENDING = ".unfinished"
_COUNT = itertools.count()


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
    with _checked(path):
        target = Path(os.path.realpath(path))  # of a symbolic link what it points to, as without the second file
        target.parent.mkdir(parents=True, exist_ok=True)
        is_device = target.exists() and not target.is_file() and not target.is_dir()
    if is_device:  # such as /dev/stdout, which no file must replace
        with _checked(path), open(target, "wb") as file:
            yield file
        return
    # The name has as many bytes as file systems take, and is another one in each thread.
    unfinished = target.with_name(f".{target.name[:48]}.{os.getpid()}.{next(_COUNT)}{_ENDING}")
    try:
        with _checked(path), open(unfinished, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        with _checked(path):
            os.replace(unfinished, target)
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


@contextmanager
def open_whole_folder(path: str | Path) -> Iterator[Path]:
    """A new folder next to `path`, to be filled and renamed; what is left of it when the block ends is removed.

    Raises:
        InputError: something in the block cannot be written; the message names `path` and the reason.
    """
    path = Path(path)
    with _checked(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{path.name[:48]}-", dir=path.parent))
    try:
        with _checked(path):
            work.chmod(0o777 & ~_umask())
            yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def check_writable(path: str | Path) -> None:
    """Refuse a file that cannot be written, before the work whose results it is to hold; nothing is left behind.

    Raises:
        InputError: its folder refuses new files, or `path` is a folder itself.
    """
    with _checked(Path(path)):
        target = Path(os.path.realpath(path))
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, "")
        if target.exists() and not target.is_file():  # a device, which is opened as it is
            return
        with tempfile.TemporaryFile(dir=next(parent for parent in target.parents if parent.exists())):
            pass


def write_into(folder: Path, name: str, content: bytes | str) -> None:
    """Write a file of a folder that `open_whole_folder` has opened; it is the folder that appears whole.

    Args:
        folder: the new folder.
        name: of the file in it, with its folders.
        content: text is written as UTF-8.
    """
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def os_error_of(error: BaseException) -> OSError | None:
    """The error of the operating system from which an error has come: libraries raise others in its place."""
    return next((cause for cause in causes_of(error) if isinstance(cause, OSError)), None)


def remove_unfinished(folder: Path) -> None:
    """Remove unfinished files that killed processes left in `folder`; no other process may be writing there."""
    for path in folder.glob(f".*{_ENDING}"):
        path.unlink(missing_ok=True)


def not_written(path: str | Path, error: OSError) -> InputError:
    """The sentence of an error of the operating system about a file or folder that was to be written."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    advice = "free some space" if is_full else "check the path and its rights"
    return InputError(f"{path} cannot be written ({reason}); {advice} and try again.")


@contextmanager
def _checked(path: Path) -> Iterator[None]:
    """Turn an `OSError` into the sentence that a user can act on."""
    if "\0" in str(path):
        raise InputError(f"{str(path)!r} cannot be written: a name has no zero byte.")
    try:
        yield
    except OSError as error:
        raise not_written(path, error) from error
