"""The arguments of the data on a command line, of a command that reads other data than that of the checkpoint."""

from __future__ import annotations

from collections.abc import Sequence


def data_arguments(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments of the data, ``--data.KEY VALUE``, and all others."""
    of_data: list[str] = []
    others: list[str] = []
    rest = list(argv)
    while rest:
        argument = rest.pop(0)
        name, equals, _ = argument.partition("=")
        is_data = name == "--data" or name.startswith("--data.")
        (of_data if is_data else others).append(argument)
        if is_data and not equals and rest and not rest[0].startswith("--"):
            of_data.append(rest.pop(0))
    return of_data, others
