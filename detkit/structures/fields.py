"""What `Target` and the answers of models have in common: fields, each declared with its kind."""

from __future__ import annotations

import functools
from dataclasses import MISSING, fields, replace
from typing import Any, Self, get_type_hints

import torch
from torch import Tensor

from detkit.geometry import Placement
from detkit.structures.kind import Kind, Swaps


class Fields:
    """What `Target` and the answers share.

    Each field is declared with its kind, ``boxes: Annotated[Tensor | None, Boxes()] = None``, which knows how the field
    is checked, moved and selected.
    """

    @classmethod
    @functools.cache
    def kinds(cls) -> dict[str, Kind]:
        """The kind of each field, in the order of the fields."""
        hints = get_type_hints(cls, include_extras=True)
        return {one.name: _kind_of(f"{cls.__name__}.{one.name}", hints[one.name]) for one in fields(cls)}

    def __post_init__(self) -> None:
        owner, required = type(self).__name__, self._required()
        count, counted = self._counted()
        for name, kind in self.kinds().items():
            value = getattr(self, name)
            if value is not None or name in required:
                kind.check(f"{owner}.{name}", value, count, counted)

    @classmethod
    @functools.cache
    def _required(cls) -> frozenset[str]:
        return frozenset(one.name for one in fields(cls) if one.default is MISSING)  # type: ignore[arg-type]

    def __len__(self) -> int:
        return self._counted()[0]

    def _counted(self) -> tuple[int, str]:
        """How many objects there are, and which field tells so."""
        for name, kind in self.kinds().items():
            if kind.per_object and (value := getattr(self, name)) is not None:
                shape = getattr(value, "shape", None)
                return (shape[0] if shape else 0), name
        return 0, "objects"

    def to(self, device: torch.device | str) -> Self:
        """The same objects with every tensor on `device`."""
        return self._map(lambda kind, value: kind.to(value, device))

    def moved(self, placement: Placement, swaps: Swaps = ()) -> Self:
        """The same in another frame; nothing is cut or dropped.

        Args:
            placement: how the image lies in that frame.
            swaps: the keypoints that a mirror exchanges.
        """
        return self._map(lambda kind, value: kind.move(value, placement, swaps))

    def moved_to_network(self, placement: Placement) -> Self:
        """The same in the frame of a network's input; masks and areas stay as annotated."""
        return self._map(lambda kind, value: kind.move_to_network(value, placement))

    def __getitem__(self, index: Tensor | slice) -> Self:
        """The objects that `index` selects: a bool mask ``(N,)``, an int64 index tensor or a slice."""
        if not isinstance(index, (Tensor, slice)):
            raise TypeError(f"index {type(self).__name__} with a mask, an index tensor or a slice, got {index!r}")
        if isinstance(index, Tensor) and index.dtype == torch.bool:
            count, counted = self._counted()
            if index.shape != (count,):
                raise IndexError(f"a mask of shape {tuple(index.shape)} does not select of {count} {counted}")
            # The rows are looked up once, and not in each field: on a GPU each look-up waits.
            index = torch.where(index)[0]
        return self._map(lambda kind, value: kind.select(value, index))

    @property
    def has_run_lengths(self) -> bool:
        """Whether the masks are run-length encoded."""
        masks = getattr(self, "masks", None)
        return masks is not None and not isinstance(masks, Tensor)

    def _map(self, function) -> Self:
        values = {
            name: function(kind, value)
            for name, kind in self.kinds().items()
            if (value := getattr(self, name)) is not None
        }
        return replace(self, **values)


def _kind_of(owner: str, hint: Any) -> Kind:
    kind = next((one for one in getattr(hint, "__metadata__", ()) if isinstance(one, Kind)), None)
    if kind is None:
        raise TypeError(f"{owner} must be declared with its kind: Annotated[…, Rows(torch.int64)], or another Kind")
    return kind
