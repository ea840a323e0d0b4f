"""Reading the bytes of a file, with one sentence where that fails."""

from __future__ import annotations

from pathlib import Path

from detkit.errors import InputError


def read_bytes(path: str | Path, kind: str = "a file") -> bytes:
    """The content of a file.

    Args:
        path: of the file.
        kind: what it should be, for messages: ``"a JSON file"``.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with open(path, "rb", buffering=0) as file:  # a buffer is of no use here, and takes time
            return file.readall()
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; give the path of {kind}") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder; give the path of {kind} in it") from None
    except OSError as error:
        raise InputError(f"{path}: cannot read this file ({error.strerror or error})") from error
    except ValueError as error:  # a path with a null character
        raise InputError(f"{str(path)!r}: cannot read this file ({error})") from error
