"""The reader of voxel files by their suffix."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from detkit.errors import InputError
from detkit.voxel_files.binvox import read_binvox
from detkit.voxel_files.pix3d_voxels import read_pix3d_voxels


def _centers_of_binvox(path: str | Path) -> Tensor:
    return read_binvox(path).centers()


_READERS: dict[str, Callable[[str | Path], Tensor]] = {".binvox": _centers_of_binvox, ".mat": read_pix3d_voxels}

VOXEL_SUFFIXES = tuple(_READERS)
"""The suffixes of voxel files, in lower case."""


def read_voxel_points(path: str | Path) -> Tensor:
    """``(P, 3)`` float32, the centers of the occupied cells of a voxel file, in model coordinates.

    Raises:
        InputError: the suffix is not one of `VOXEL_SUFFIXES`, or the file cannot be read.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _READERS:
        raise InputError(f"{path}: {suffix!r} is no suffix of voxel files; use one of {', '.join(VOXEL_SUFFIXES)}")
    return _READERS[suffix](path)
