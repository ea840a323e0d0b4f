"""Moving the rows of all images of a batch at once, exactly as image by image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate

import torch
from torch import Tensor

from detkit.geometry import Placement, RowPlacements
from detkit.structures.device_transfer import joined_on
from detkit.structures.kind import Kind

Move = Callable[[RowPlacements, Tensor], Tensor]


def rows_on(values: Sequence[Tensor], device: torch.device | str) -> Sequence[Tensor]:
    """`values` ``(Ni, …)`` on `device`: views of one tensor."""
    return values if _are_there(values, device) else _split(joined_on(values, device), values)


def selected_rows(values: Sequence[Tensor], rows: Sequence[Sequence[int]]) -> Sequence[Tensor]:
    """Those of `values` ``(Ni, …)`` at `rows`, of each its own: views of one tensor."""
    starts = accumulate((len(value) for value in values), initial=0)
    index = [start + row for start, own in zip(starts, rows, strict=False) for row in own]
    chosen = torch.cat(list(values))[torch.tensor(index, dtype=torch.int64)]
    return torch.split(chosen, [len(own) for own in rows])


def moved_rows(
    values: Sequence[Tensor], placements: Sequence[Placement], device: torch.device | str, move: Move
) -> Sequence[Tensor]:
    """`values` ``(Ni, …)``, moved by `move` with the placements of all their rows, and on `device`."""
    if all(placement.is_identity for placement in placements):
        return rows_on(values, device)
    joined = torch.cat(list(values))
    moved = move(RowPlacements(placements, [len(value) for value in values]), joined)
    return _split(joined_on([moved], device), values)


def moves_as(kind: Kind, known: type[Kind]) -> bool:
    """Whether `kind`, of a class made from `known`, moves and transfers single values as `known` does."""
    own = type(kind)
    same_move = own.move is known.move and own.move_to_network is known.move_to_network
    return same_move and own.to is known.to


def can_join(values: Sequence[Tensor]) -> bool:
    """Whether `values` are rows of one shape, type and device."""
    first = values[0]
    return all(
        isinstance(value, Tensor)
        and value.shape[1:] == first.shape[1:]
        and value.dtype == first.dtype
        and value.device == first.device
        for value in values
    )


def _are_there(values: Sequence[Tensor], device: torch.device | str) -> bool:
    return values[0].device == torch.device(device)


def _split(joined: Tensor, values: Sequence[Tensor]) -> Sequence[Tensor]:
    return torch.split(joined, [len(value) for value in values])
