"""One training at a time in the folder of a run."""

from __future__ import annotations

import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lightning.pytorch.utilities.rank_zero import rank_zero_only

from detkit.errors import InputError
from detkit.files import not_written

logger = logging.getLogger(__name__)

LOCK_FILE = ".lock"

_held: set[int] = set()
"""The descriptors of the locks of this process."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other trainings out of `folder`, which is created; the death of this process releases it too.

    Of several processes that train together only the first one locks.

    Raises:
        InputError: another training is in the folder, or it cannot be written.
    """
    if getattr(rank_zero_only, "rank", 0) != 0:
        yield
        return
    made = _make(folder)
    try:
        with _lock_file(folder / LOCK_FILE):
            yield
    finally:
        for empty in made:
            with suppress(OSError):  # it holds files now
                empty.rmdir()


def _make(folder: Path) -> list[Path]:
    """Create a folder; returns what was created, the innermost first."""
    missing = [path for path in (folder, *folder.parents) if not os.path.exists(path)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise not_written(folder, error) from error
    return missing


@contextmanager
def _lock_file(path: Path) -> Iterator[None]:
    descriptor = _acquire(path)
    _held.add(descriptor)
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()  # before others can lock it
        _held.discard(descriptor)
        os.close(descriptor)


def _acquire(path: Path) -> int:
    """The descriptor of the locked file, which names this process."""
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise not_written(path.parent, error) from error
        try:
            _lock(descriptor, path)
            if _is_at(descriptor, path):
                os.ftruncate(descriptor, 0)
                with suppress(OSError):  # a full disk: the lock holds without a name
                    os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its holder has just removed it


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.read(descriptor, 1000).decode(errors="replace") or "another process"
        raise InputError(
            f"{path.parent} is in use by another training ({holder}): wait for its end, stop it, or choose another "
            "--name."
        ) from error
    except OSError as error:
        logger.warning("%s cannot be locked (%s): start no second training in it", path.parent, error.strerror)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False


def _close_in_child() -> None:
    """A lock lasts as long as any process has the file open; a loader's workers may outlive the training."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_close_in_child)
