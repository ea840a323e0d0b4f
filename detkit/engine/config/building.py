"""Build the objects that a parsed config describes."""

from __future__ import annotations

from collections.abc import Iterator

from jsonargparse import ArgumentParser, Namespace

from detkit.errors import InputError


def build(parser: ArgumentParser, config: Namespace) -> Namespace:
    """Build the objects that `config` describes.

    Raises:
        InputError: the one that a constructor raised, which jsonargparse wraps in errors of its own.
    """
    try:
        return parser.instantiate(config)
    except ValueError as error:
        for cause in _causes(error):
            if isinstance(cause, InputError):
                raise cause from None
        raise


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
