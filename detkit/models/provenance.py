"""`VisionModel.provenance`: the weights that a model has started from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import overload

from torch import nn

from detkit.structures import WeightsSource


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
