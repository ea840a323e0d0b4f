"""Build the objects that a parsed config describes."""

from __future__ import annotations

from jsonargparse import ArgumentParser, Namespace

from detkit.errors import InputError, causes_of, one_line

REFUSALS = (ValueError, TypeError, ImportError, OverflowError, MemoryError, RuntimeError)
"""What constructors raise for arguments of the right type; see `as_input_error` for which of them are sentences."""


def build(parser: ArgumentParser, config: Namespace) -> Namespace:
    """Build the objects that `config` describes.

    Raises:
        InputError: the one that a constructor raised, which jsonargparse wraps in errors of its own; also where a
            constructor refuses a value with another `ValueError`, or needs a package that is not installed.
    """
    # Imported where there is something to build, since a parser alone needs no Lightning.
    from lightning.pytorch.utilities.exceptions import MisconfigurationException

    from detkit.engine.trainer.failures import as_input_error

    try:
        return parser.instantiate(config)
    except (*REFUSALS, MisconfigurationException) as error:
        causes = list(causes_of(error))
        for cause in causes:
            if isinstance(cause, InputError):
                raise cause from None
        sentence = as_input_error(causes[-1], "config")
        if sentence is None and isinstance(causes[-1], (ValueError, OverflowError)):
            sentence = InputError(f"config: {one_line(causes[-1])}")
        if sentence is None:
            raise
        raise sentence from error
