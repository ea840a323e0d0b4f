"""binvox files: the order of cells and their coordinates by the format's own text, and each fault."""

from __future__ import annotations

import secrets

import numpy as np
import pytest
import torch

from detkit.errors import InputError
from detkit.voxel_files import VoxelGrid, read_binvox, read_voxel_points, write_binvox

OF_TRIMESH = (
    b"#binvox 1\n# generated in `trimesh`\ndim 4 4 4\ntranslate -1.0 2.0 3.5\nscale 1.5\ndata\n"
    b"\x00\t\x01\x01\x00\x12\x01\x04\x00\x11\x01\x03\x00\x0c"
)
"""Written by trimesh 5.2.0, of these cells."""
CELLS = [[0, 1, 2], [1, 0, 3], [1, 1, 3], [1, 2, 3], [1, 3, 3], [3, 1, 0], [3, 2, 0], [3, 3, 0]]


def by_the_text(content: bytes, size: int) -> np.ndarray:
    """The cells by the formula of the format's page: index = x * width * height + z * width + y."""
    values: list[int] = []
    data = content.split(b"\ndata\n", 1)[1]
    for value, count in zip(data[::2], data[1::2], strict=True):
        values += [value] * count
    grid = np.zeros((size, size, size), dtype=bool)
    for x, y, z in np.ndindex(grid.shape):
        grid[x, y, z] = values[x * size * size + z * size + y]
    assert len(values) == grid.size
    return grid


def test_a_file_of_trimesh(tmp_path):
    (tmp_path / "a.binvox").write_bytes(OF_TRIMESH)
    grid = read_binvox(tmp_path / "a.binvox")
    assert grid.occupied.nonzero().tolist() == CELLS
    assert (grid.translate, grid.scale) == ((-1, 2, 3.5), 1.5)
    points = read_voxel_points(tmp_path / "a.binvox")
    assert points.dtype == torch.float32
    # ((i + 0.5) / dim) * scale + translate; trimesh itself has its centers elsewhere, at i / (dim - 1)
    expected = [[(i + 0.5) / 4 * 1.5 + t for i, t in zip(cell, (-1, 2, 3.5), strict=True)] for cell in CELLS]
    np.testing.assert_allclose(points, expected, rtol=1e-6)


@pytest.mark.parametrize("seed", [0, 1, pytest.param(secrets.randbits(32), id="fresh")])
@pytest.mark.parametrize("share", [0, 0.01, 0.5, 1])
def test_what_is_written_is_by_the_text_and_read_again(tmp_path, seed, share):
    random = np.random.default_rng(seed)
    size = int(random.integers(1, 13))
    occupied = torch.from_numpy(random.random((size, size, size)) < share)
    translate = tuple(random.normal(size=3).tolist())
    write_binvox(tmp_path / "a.binvox", VoxelGrid(occupied, translate, 2.5))
    content = (tmp_path / "a.binvox").read_bytes()
    np.testing.assert_array_equal(by_the_text(content, size), occupied)
    grid = read_binvox(tmp_path / "a.binvox")
    assert torch.equal(grid.occupied, occupied)
    assert (grid.translate, grid.scale) == (translate, 2.5)


@pytest.mark.parametrize("size", [254, 255, 256, 510, 511])
def test_runs_are_of_255_cells_at_most(tmp_path, size):
    flat = torch.zeros(12**3, dtype=torch.bool)
    flat[7 : 7 + size] = True
    write_binvox(tmp_path / "a.binvox", VoxelGrid(flat.reshape(12, 12, 12).transpose(1, 2)))
    data = (tmp_path / "a.binvox").read_bytes().split(b"\ndata\n", 1)[1]
    full, rest = divmod(size, 255)
    assert data[2 : 2 + 2 * full + 2 * (rest > 0)] == b"\1\xff" * full + bytes([1, rest]) * (rest > 0)
    assert read_binvox(tmp_path / "a.binvox").occupied.sum() == size


def test_version_2_other_line_ends_and_no_position(tmp_path):
    (tmp_path / "a.binvox").write_bytes(b"#binvox 2\r\ndim 2 2 2\r\n\r\ndata\r\n" + bytes([7, 1, 0, 6, 255, 1]))
    points = read_voxel_points(tmp_path / "a.binvox")
    assert points.tolist() == [[0.25, 0.25, 0.25], [0.75, 0.75, 0.75]]


HEADER = b"#binvox 1\ndim 2 2 2\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "this is no binvox file"),
        (b"#binvox 1\ndim 2 2 2", "ends within its header"),
        (b"#binvox 1\ndata\n", "has no line 'dim'"),
        (b"#binvox 1\ndim 2 2\ndata\n", ", line 2: 'dim 2 2' is no line of a binvox header"),
        (b"#binvox 1\ndim 2 2 nan\ndata\n", ", line 2: 'dim 2 2 nan' is no line"),
        (HEADER + b"scale 0\ndata\n", ", line 3: 'scale 0' is no line"),
        (HEADER + b"color 1\ndata\n", ", line 3: 'color 1' is no line"),
        (b"#binvox 1\ndim 2 2 3\ndata\n", "its grid has 2 x 2 x 3 cells, and a binvox file holds a cube"),
        (b"#binvox 1\ndim 0 0 0\ndata\n", "its grid has 0 x 0 x 0 cells"),
        (b"#binvox 1\ndim 1.5 1.5 1.5\ndata\n", r"its grid has 1\.5 x 1\.5 x 1\.5 cells"),
        (HEADER + b"data\n", "hold 0 cells, and its grid has 2 x 2 x 2"),
        (HEADER + b"data\n\1\7", "hold 7 cells"),
        (HEADER + b"data\n\1\x09", "hold 9 cells"),
        (HEADER + b"data\n\1\x08\1", "hold 8 cells"),
        (b"#binvox 1\ndim 1000000 1000000 1000000\ndata\n\1\7", "hold 7 cells, and its grid has 1000000 x"),
        (b"#binvox 1\ndim 1e300 1e300 1e300\ndata\n\1\7", "hold 7 cells"),
    ],
)
def test_faults_are_named(tmp_path, content, message):
    (tmp_path / "a.binvox").write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.binvox.*{message}"):
        read_voxel_points(tmp_path / "a.binvox")


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (VoxelGrid(torch.ones(2, 2, 3, dtype=torch.bool)), r"a cube of \(N, N, N\) bool, not \(2, 2, 3\) bool"),
        (VoxelGrid(torch.ones(0, 0, 0, dtype=torch.bool)), r"not \(0, 0, 0\) bool"),
        (VoxelGrid(torch.ones(2, 2, 2)), r"not \(2, 2, 2\) float32"),
        (VoxelGrid(torch.ones(2, 2, 2, dtype=torch.bool), (0, float("nan"), 0)), r"translate \[0\.0, nan, 0\.0\]"),
        (VoxelGrid(torch.ones(2, 2, 2, dtype=torch.bool), scale=0), r"and scale 0\.0"),
    ],
)
def test_grids_that_the_format_cannot_hold(tmp_path, grid, message):
    with pytest.raises(InputError, match=rf"a\.binvox: .*{message}"):
        write_binvox(tmp_path / "a.binvox", grid)
    assert not (tmp_path / "a.binvox").exists()


def test_other_suffixes_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"a\.vox: '\.vox' is no suffix of voxel files; use one of \.binvox, \.mat"):
        read_voxel_points(tmp_path / "a.vox")
    with pytest.raises(InputError, match=r"a\.binvox does not exist; give the path of a binvox file"):
        read_voxel_points(tmp_path / "a.binvox")
