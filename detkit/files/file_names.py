"""Finding which file another program means, by the end of its path."""

from __future__ import annotations

import posixpath
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from difflib import get_close_matches

_MOST_COMPARED = 2000
"""Names among which the nearest is looked for; more would take seconds."""


class FileNames:
    """Names of files, which others may write with more or fewer folders in front.

    ``photos/val/a.jpg`` and ``a.jpg`` both mean ``val/a.jpg``, while ``train/a.jpg`` does not. Folders may be separated
    by ``/`` or ``\\``, and letters with accents be written in either form of Unicode.

    Args:
        names: the names.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self._parts = [path_parts(name) for name in names]
        self._with_base: dict[str, list[int]] = defaultdict(list)
        for position, parts in enumerate(self._parts):
            self._with_base[parts[-1]].append(position)

    def find(self, name: str) -> list[int]:
        """The positions of the names that `name` can mean: none, one, or several that fit equally well.

        One path must end with the other. The same path fits best, then the one with the most folders in common.
        """
        parts = path_parts(name)
        common = {position: _common(parts, self._parts[position]) for position in self._with_base.get(parts[-1], [])}
        best = max(common.values(), default=(0, False))
        return [position for position, fit in common.items() if fit == best and fit[0]]

    def nearest(self, name: str) -> str | None:
        """A name that `name` may have been meant for: that of the same file in another folder, else one alike."""
        base = path_parts(name)[-1]
        if base in self._with_base:
            return self.names[self._with_base[base][0]]
        alike = get_close_matches(name, self.names[:_MOST_COMPARED], n=1, cutoff=0.0)
        return alike[0] if alike else None


def path_parts(name: str) -> tuple[str, ...]:
    """The folders and the file of a path of any system."""
    path = posixpath.normpath(unicodedata.normalize("NFC", name).replace("\\", "/"))
    return tuple(part for part in path.split("/") if part) or ("",)


def _common(parts: tuple[str, ...], others: tuple[str, ...]) -> tuple[int, bool]:
    """How many parts the ends of two paths have in common, 0 where neither ends with the other; and whether they are
    the same path."""
    length = min(len(parts), len(others))
    return (length, parts == others) if parts[-length:] == others[-length:] else (0, False)
