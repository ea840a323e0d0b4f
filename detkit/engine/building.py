"""From a parsed config to objects."""

from __future__ import annotations

from collections.abc import Iterator

from jsonargparse import ArgumentParser, Namespace

from detkit.errors import InputError


def build(parser: ArgumentParser, config: Namespace) -> Namespace:
    """The objects that `config` describes.

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
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
