"""`WeightsSource`: where weights of a model come from, and under which license."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

PROVENANCE_KEY = "detkit.provenance"
"""The key of `provenance_text` in the metadata of exported files."""


@dataclass(frozen=True)
class WeightsSource:
    """Weights that a model has started from.

    Args:
        name: of the weights, such as ``torchvision resnet50 IMAGENET1K_V2``.
        source: the address or the file that they were read from.
        license: what their publisher states; begins with ``unknown`` where that is not known.
    """

    name: str
    source: str
    license: str

    @classmethod
    def of_file(cls, name: str, path: object) -> WeightsSource:
        """Weights for `name` from a file, which says nothing of its license."""
        return cls(name, str(path), f"unknown: {path}")

    def record(self) -> dict[str, str]:
        """As plain values."""
        return asdict(self)


def provenance_text(sources: Iterable[WeightsSource]) -> str:
    """The sources as JSON, for the metadata of exported files, where it stands at `PROVENANCE_KEY`."""
    return json.dumps([source.record() for source in sources])
