"""Where the weights of a model come from, and under which license: `WeightsSource`, `Provenance`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import overload

from torch import nn

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


class Provenance:
    """The attribute `provenance` of a model: what was set, else the ``weights_source`` of each of its modules."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = f"_{name}"

    @overload
    def __get__(self, model: None, owner: type) -> Provenance: ...
    @overload
    def __get__(self, model: nn.Module, owner: type) -> tuple[WeightsSource, ...]: ...
    def __get__(self, model: nn.Module | None, owner: type) -> Provenance | tuple[WeightsSource, ...]:
        if model is None:
            return self
        given: tuple[WeightsSource, ...] | None = vars(model).get(self.name)
        if given is not None:
            return given
        found = (vars(module).get("weights_source") for module in model.modules())
        return tuple(dict.fromkeys(source for source in found if source is not None))

    def __set__(self, model: nn.Module, sources: Iterable[WeightsSource]) -> None:
        vars(model)[self.name] = tuple(dict.fromkeys(sources))
