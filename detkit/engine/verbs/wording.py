"""Sentences of the commands, said to those who call them from Python."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from detkit.errors import InputError

_WORDS = (
    (r"^command line: ", ""),
    (r"^The command line has no option --", "There is no setting "),
    (r"--(overwrite|per_class|errors)\b", r"\1=True"),
    (r"--(resume|checkpoint|start_from|config) ([\w./-]*[\w/-])", r'\1="\2"'),
    (r"--([a-z_]\w*(?:\.\w+)*)", r"\1"),
)
"""Patterns of what only a command line has, and what stands for them in Python."""


@contextmanager
def in_words_of_python() -> Iterator[None]:
    """Let the errors within name settings as a call has them: ``overwrite=True`` for ``--overwrite``."""
    try:
        yield
    except InputError as error:
        error.args = (reworded(str(error)),)
        raise


def reworded(sentence: str) -> str:
    """The sentence for Python."""
    for pattern, words in _WORDS:
        sentence = re.sub(pattern, words, sentence)
    return sentence
