"""The base class of `Target` and of predictions: a dataclass whose fields are each declared with their kind."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, fields, replace
from typing import Any, ClassVar, Self, get_type_hints

import torch
from torch import Tensor

from detkit.geometry import Placement
from detkit.structures.kind import Kind, Swaps


class Fields:
    """Base class of `Target` and of predictions; subclasses are dataclasses.

    Each field is declared with its kind, as in ``boxes: Annotated[Tensor | None, Boxes()] = None``. The kind checks,
    moves and selects the values of the field.
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]  # what makes the subclasses dataclasses

    @classmethod
    @functools.cache
    def kinds(cls) -> dict[str, Kind]:
        """The kind of each field, in the order of the fields."""
        hints = get_type_hints(cls, include_extras=True)
        return {one.name: _kind_of(f"{cls.__name__}.{one.name}", hints[one.name]) for one in fields(cls)}

    def __post_init__(self) -> None:
        count, counted = self._counted()
        for name, kind, called, is_required in self._checked():
            value = getattr(self, name)
            if value is not None or is_required:
                kind.check(called, value, count, counted)

    @classmethod
    @functools.cache
    def _checked(cls) -> list[tuple[str, Kind, str, bool]]:
        """The name of each field, its kind, what messages call it, and whether it may not be None."""
        required = {one.name for one in fields(cls) if one.default is MISSING}
        return [(name, kind, f"{cls.__name__}.{name}", name in required) for name, kind in cls.kinds().items()]

    def __len__(self) -> int:
        return self._counted()[0]

    def _counted(self) -> tuple[int, str]:
        """The number of objects, and the name of the field that it comes from."""
        for name, kind in self.kinds().items():
            if kind.per_object and (value := getattr(self, name)) is not None:
                return kind.count(value), name
        return 0, "objects"

    def to(self, device: torch.device | str) -> Self:
        """A copy with every tensor on `device`."""
        return self._map(lambda kind, value: kind.to(value, device))

    @classmethod
    def batch_to(cls, batch: Sequence[Self], device: torch.device | str) -> list[Self]:
        """Copies of several with every tensor on `device`; the rows of all move in one transfer for each field."""
        return cls._batch_map(batch, lambda kind, values, _: kind.batch_to(values, device))

    def moved(self, placement: Placement, swaps: Swaps = ()) -> Self:
        """A copy in the coordinates of another frame; nothing is clipped or dropped.

        Args:
            placement: the placement of the image in that frame.
            swaps: pairs of keypoints that a mirror swaps.
        """
        return self._map(lambda kind, value: kind.move(value, placement, swaps))

    def moved_to_network(self, placement: Placement) -> Self:
        """A copy in the frame of a network's input; masks and areas stay as annotated."""
        return self._map(lambda kind, value: kind.move_to_network(value, placement))

    @classmethod
    def batch_to_network(
        cls, batch: Sequence[Self], placements: Sequence[Placement], device: torch.device | str
    ) -> list[Self]:
        """Copies of several in the frame of a network's input, on `device`; the rows of all move at once.

        Args:
            batch: all of this class.
            placements: of the image of each.
            device: where they go.
        """
        return cls._batch_map(
            batch,
            lambda kind, values, present: kind.batch_to_network(values, [placements[one] for one in present], device),
        )

    @classmethod
    def batch_select(cls, batch: Sequence[Self], rows: Sequence[Sequence[int]]) -> list[Self]:
        """Copies of several, all on the CPU, with the objects at `rows` of each."""
        return cls._batch_map(
            batch, lambda kind, values, present: kind.batch_select(values, [rows[one] for one in present])
        )

    @classmethod
    def _batch_map(
        cls, batch: Sequence[Self], function: Callable[[Kind, list[Any], list[int]], Sequence[Any]]
    ) -> list[Self]:
        """Copies with the results of `function` for each field: of its kind, its values, and who of `batch` has it."""
        values: list[dict[str, Any]] = [{} for _ in batch]
        for name, kind in cls.kinds().items():
            given = [getattr(one, name) for one in batch]
            present = [index for index, value in enumerate(given) if value is not None]
            if present:
                for index, value in zip(
                    present, function(kind, [given[index] for index in present], present), strict=True
                ):
                    values[index][name] = value
        return [replace(one, **changed) for one, changed in zip(batch, values, strict=True)]

    def __getitem__(self, index: Tensor | slice) -> Self:
        """A copy with the objects that `index` selects: a bool mask ``(N,)``, an int64 index tensor or a slice."""
        if not isinstance(index, (Tensor, slice)):
            raise TypeError(f"index {type(self).__name__} with a mask, an index tensor or a slice, got {index!r}")
        if isinstance(index, Tensor) and index.ndim != 1:
            hint = "; of one object give its number, int(index)" if index.ndim == 0 else ""
            raise IndexError(f"index {type(self).__name__} with a tensor (N,), got {tuple(index.shape)}{hint}")
        if isinstance(index, slice) and index.step is not None and index.step < 0:  # which tensors do not have
            index = torch.tensor(range(self._counted()[0])[index], dtype=torch.int64)
        if isinstance(index, Tensor) and index.dtype == torch.bool:
            count, counted = self._counted()
            if index.shape != (count,):
                raise IndexError(f"a mask of shape {tuple(index.shape)} does not select of {count} {counted}")
            # Indices are computed once rather than in each field: on a GPU each time would synchronize.
            index = torch.where(index)[0]
        return self._map(lambda kind, value: kind.select(value, index))

    def with_fitting(self, values: Mapping[str, Any]) -> Self:
        """A copy with other `values` of some fields, which are known to fit: `dataclasses.replace` checks all again."""
        if type(self).__post_init__ is not Fields.__post_init__:  # a user's class computes something there
            return replace(self, **values)
        copied = object.__new__(type(self))
        own = vars(self)
        vars(copied).update({name: own[name] for name in self.kinds()}, **values)
        return copied

    @property
    def has_run_lengths(self) -> bool:
        """Whether the masks are run-length encoded."""
        masks = getattr(self, "masks", None)
        return masks is not None and not isinstance(masks, Tensor)

    def _map(self, function: Callable[[Kind, Any], Any]) -> Self:
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
