"""binvox files: a short header of text, and runs of cells that are occupied or not.

The format is described at https://www.patrickmin.com/binvox/binvox.html: y runs fastest, then z, then x.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from detkit.errors import InputError
from detkit.files import read_bytes, write_whole
from detkit.files.json_values import is_finite_numbers, shortened
from detkit.files.text_documents import numbers_in
from detkit.voxel_files.voxel_grids import VoxelGrid

_LONGEST_RUN = 255
_LENGTHS = {"dim": 3, "translate": 3, "scale": 1}
"""The keywords of a header, and how many numbers follow each."""


def read_binvox(path: str | Path) -> VoxelGrid:
    """The cells of a binvox file of version 1 or 2; without `translate` and `scale`, they fill the unit cube.

    Raises:
        InputError: the file cannot be read, its grid is no cube, or its runs do not fill the grid.
    """
    content = read_bytes(path, "a binvox file")
    header, start = _header(path, content)
    size = _cells_along(path, header["dim"])
    runs = np.frombuffer(content, np.uint8, offset=start)
    values, counts = runs[: len(runs) // 2 * 2].reshape(-1, 2).T
    total = int(counts.sum(dtype=np.int64))
    if len(runs) % 2 or total != size**3:
        raise InputError(
            f"{path}: the runs of this binvox file hold {total} cells, and its grid has {size} x {size} x {size}; "
            "copy it again"
        )
    occupied = np.repeat(values > 0, counts).reshape(size, size, size).transpose(0, 2, 1)
    x, y, z = header["translate"]
    return VoxelGrid(torch.from_numpy(np.ascontiguousarray(occupied)), (x, y, z), header["scale"][0])


def write_binvox(path: str | Path, grid: VoxelGrid) -> None:
    """Write a cube of cells as a binvox file.

    Raises:
        InputError: the grid is no cube or empty, its position is not finite, or the file cannot be written.
    """
    occupied = grid.occupied.detach().cpu().numpy()
    if occupied.dtype != np.bool_ or occupied.ndim != 3 or not occupied.size or len(set(occupied.shape)) > 1:
        raise InputError(
            f"{path}: a binvox file holds a cube of (N, N, N) bool, not {occupied.shape} {occupied.dtype}; pad the grid"
        )
    position = [float(number) for number in (*grid.translate, grid.scale)]
    if not is_finite_numbers(position, 4) or position[3] <= 0:
        raise InputError(
            f"{path}: the grid has translate {position[:3]} and scale {position[3]}, which must be finite and positive"
        )
    size = occupied.shape[0]
    header = f"#binvox 1\ndim {size} {size} {size}\ntranslate {' '.join(map(repr, position[:3]))}\n"
    write_whole(
        path, f"{header}scale {position[3]!r}\ndata\n".encode() + _runs(occupied.transpose(0, 2, 1).reshape(-1))
    )


def _runs(cells: np.typing.NDArray[np.bool_]) -> bytes:
    """Pairs of a value and of how often it comes, 255 at most."""
    starts = np.concatenate([[0], np.flatnonzero(cells[1:] != cells[:-1]) + 1])
    lengths = np.diff(np.append(starts, len(cells)))
    pieces = -(-lengths // _LONGEST_RUN)
    counts = np.full(pieces.sum(), _LONGEST_RUN)
    counts[np.cumsum(pieces) - 1] = lengths - (pieces - 1) * _LONGEST_RUN
    return np.stack([np.repeat(cells[starts], pieces), counts], axis=1).astype(np.uint8).tobytes()


def _header(path: str | Path, content: bytes) -> tuple[dict[str, list[float]], int]:
    """The numbers of each keyword, and the position of the first run."""
    if not content.startswith(b"#binvox"):
        raise InputError(f"{path}: this is no binvox file, whose first line is '#binvox 1'; give another file")
    header = {"translate": [0.0, 0.0, 0.0], "scale": [1.0]}
    position = number = 0
    while (end := content.find(b"\n", position)) >= 0:
        number += 1
        line = content[position:end].decode("latin-1").strip()
        position = end + 1
        keyword, _, rest = line.partition(" ")
        if keyword == "data":
            break
        if line and not line.startswith("#"):
            numbers = numbers_in(rest) or []
            is_known = is_finite_numbers(numbers, _LENGTHS.get(keyword, -1))
            if not is_known or (keyword == "scale" and numbers[0] <= 0):
                raise InputError(
                    f"{path}, line {number}: {shortened(line, 60)!r} is no line of a binvox header, such as "
                    "'dim 32 32 32' or 'scale 1.5'"
                )
            header[keyword] = numbers
    else:
        raise InputError(f"{path}: this binvox file ends within its header, without a line 'data'; copy it again")
    if "dim" not in header:
        raise InputError(f"{path}: the header of this binvox file has no line 'dim'; export it again")
    return header, position


def _cells_along(path: str | Path, dimensions: list[float]) -> int:
    """The one number of cells along x, y and z."""
    size = dimensions[0]
    if len(set(dimensions)) > 1 or size < 1 or not size.is_integer():
        # Programs differ in the order of y and z here, and the format's own text wants them to be equal.
        described = " x ".join(f"{number:g}" for number in dimensions)
        raise InputError(f"{path}: its grid has {described} cells, and a binvox file holds a cube; export it as one")
    return int(size)
