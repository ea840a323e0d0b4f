"""Many small JSON values in two arrays."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class PackedJson:
    """A list of JSON values in two arrays: the text of value i is ``text[offsets[i]:offsets[i + 1]]``."""

    text: np.ndarray
    offsets: np.ndarray

    @classmethod
    def pack(cls, values: Sequence[Any]) -> PackedJson:
        """Pack the values; ``None`` is a value too."""
        encode = json.JSONEncoder(separators=(",", ":")).encode
        texts = [encode(value).encode() for value in values]
        offsets = np.concatenate([[0], np.cumsum([len(text) for text in texts], dtype=np.int64)])
        return cls(np.frombuffer(b"".join(texts), np.uint8), offsets.astype(np.int64))

    def __getitem__(self, index: int) -> Any:
        return json.loads(self.text[self.offsets[index] : self.offsets[index + 1]].tobytes())

    def select(self, keep: np.ndarray) -> PackedJson:
        """The values at the indices `keep`."""
        return PackedJson.pack([self[index] for index in keep])
