"""Errors of Lightning, of torch's loaders and of missing packages, as one sentence."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from lightning.pytorch.utilities.exceptions import MisconfigurationException

from detkit.errors import InputError, one_line, raising_module, traceback_of
from detkit.files import not_written, os_error_of

PACKAGES = ("lightning", "torch.optim", "jsonargparse")
"""Where an error that is raised means that an argument is wrong."""

WRONG_ARGUMENTS = (ValueError, TypeError, RuntimeError, KeyError, AssertionError, OverflowError)

DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO})
"""What the operating system says of a disk that takes no more, whoever writes: a logger, a callback of the user."""

_NO_MEMORY = re.compile(
    r"out of memory|can't allocate memory|not enough memory|size calculation overflowed", re.IGNORECASE
)
_HINT = re.compile(r"pip install -U '(?P<package>[^']+)'")


def as_input_error(error: BaseException, key: str = "trainer") -> InputError | None:
    """The sentence of an error that a user can act on.

    None for one that is a sentence already, and for all others, whose traceback is of use.

    Args:
        error: as it was caught.
        key: of the config, where the sentence begins.
    """
    if isinstance(error, InputError):
        return None
    disk = os_error_of(error)
    if disk is not None and disk.errno in DISK_ERRORS:
        return not_written(disk.filename or "The run's folder", disk)
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error))):
        return InputError(f"{key}: memory ran out; lower data.batch_size, or the size of the images or the model.")
    if isinstance(error, ImportError):
        return InputError(f"{key}: {_missing(error)}")
    arguments = isinstance(error, WRONG_ARGUMENTS) and _raised_in_packages(error)
    if arguments or isinstance(error, MisconfigurationException):
        return InputError(f"{key}: {one_line(error)}")
    return None


@contextmanager
def in_one_sentence(key: str = "trainer") -> Iterator[None]:
    """Raise the sentence of an error within, where there is one; see `as_input_error`."""
    try:
        yield
    except Exception as error:
        if sentence := as_input_error(error, key):
            raise sentence from error
        raise


def _missing(error: ImportError) -> str:
    """What has to be installed, and the class that asked for it."""
    text, owner = one_line(error), _constructed(error)
    hint = _HINT.search(text)
    package = re.split(r"[ <>=!~]", hint["package"])[0] if hint else error.name
    if package is None:
        return text
    return f"{owner + ' needs' if owner else 'there is no'} {package}, which is not installed: pip install {package}."


def _constructed(error: BaseException) -> str | None:
    """The class whose constructor raised."""
    names = [
        type(frame.tb_frame.f_locals["self"]).__name__
        for frame in traceback_of(error)
        if frame.tb_frame.f_code.co_name == "__init__" and "self" in frame.tb_frame.f_locals
    ]
    return names[-1] if names else None


def _raised_in_packages(error: BaseException) -> bool:
    module = raising_module(error)
    return any(module == package or module.startswith(f"{package}.") for package in PACKAGES)
