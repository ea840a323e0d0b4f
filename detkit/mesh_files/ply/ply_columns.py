"""What a PLY file holds in one property of an element, whether it was text or binary."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from detkit.errors import InputError
from detkit.mesh_files.mesh_parts import Integers
from detkit.mesh_files.ply.ply_headers import Element


@dataclass(frozen=True)
class Column:
    """The values of a property.

    Args:
        values: those of all rows, one row after the other.
        counts: ``(N,)`` of lists, how many each row has; None where each row has one.
    """

    values: NDArray[Any]
    counts: Integers | None = None


def truncated(path: str | Path, element: Element) -> InputError:
    """The sentence of a file that is shorter than its header says."""
    return InputError(
        f"{path}: this PLY file ends before the {element.count} rows of its element {element.name!r} do; copy it again"
    )
