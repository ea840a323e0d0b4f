"""`Finding`: something that a certificate says in one sentence."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """What was found.

    Args:
        subject: what it is about, in one word: ``classes``.
        sentence: what is the case.
        help: what to do; empty where there is nothing to do.
        is_fault: whether a file of which it is true is not certified.
    """

    subject: str
    sentence: str
    help: str = ""
    is_fault: bool = True
