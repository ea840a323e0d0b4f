"""`FileCache`: what was read last from files that many objects share, such as the models of a data set."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

Content = TypeVar("Content")


class FileCache(Generic[Content]):
    """Reads files, and keeps what was read last in the memory of its process. A file that was changed is read again.

    Args:
        read: reads a file by its path.
        size: of what was read, in bytes.
        most_bytes: that are kept. What is larger is kept alone, until another file is read.
    """

    def __init__(self, read: Callable[[str], Content], size: Callable[[Content], int], most_bytes: int) -> None:
        self._read, self._size, self.most_bytes = read, size, most_bytes
        self._kept: OrderedDict[tuple[str, int, int], Content] = OrderedDict()
        self._bytes = 0

    def __call__(self, path: str) -> Content:
        """The content of a file, which is shared: do not change it."""
        try:
            stated = os.stat(path)
        except OSError:
            return self._read(path)  # which says what is wrong
        key = path, stated.st_mtime_ns, stated.st_size
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        content = self._read(path)
        self._kept[key] = content
        self._bytes += self._size(content)
        while self._bytes > self.most_bytes and len(self._kept) > 1:
            self._bytes -= self._size(self._kept.popitem(last=False)[1])
        return content
