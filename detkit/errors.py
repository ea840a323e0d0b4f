"""`InputError`, the error for bad user input, and other errors in its sentences."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType


class InputError(ValueError):
    """A file, key, id or value of the user is wrong. The message is one sentence that names it and says what to do.

    The command line prints only the message and exits with status 2; library code may catch it as a ValueError.
    """


def one_line(error: BaseException) -> str:
    """An error's message on one line, else its type."""
    return " ".join(str(error).split()) or type(error).__name__


def first_line(error: BaseException) -> str:
    """The first line of an error's message, else its type; of one of the operating system, the reason alone."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return (text.strip().splitlines() or [type(error).__name__])[0]


def causes_of(error: BaseException) -> Iterator[BaseException]:
    """An error, then those from which it came, each once: some libraries chain errors in a circle."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


def traceback_of(error: BaseException) -> Iterator[TracebackType]:
    """The steps of an error's traceback, the one that raised last."""
    step = error.__traceback__
    while step is not None:
        yield step
        step = step.tb_next


def raising_module(error: BaseException) -> str:
    """The name of the module that raised an error; empty where that is not known."""
    steps = list(traceback_of(error))
    return str(steps[-1].tb_frame.f_globals.get("__name__", "")) if steps else ""
