"""``.mat`` files of Pix3D, written by scipy: points as Mesh R-CNN's authors have them, and each fault."""

from __future__ import annotations

import secrets
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
import torch
from scipy.io import loadmat, savemat

from detkit.errors import InputError
from detkit.voxel_files import read_pix3d_voxels, read_voxel_points
from detkit.voxel_files.mat_files import mat_array


def by_the_authors_steps(voxel: np.ndarray) -> list[list[float]]:
    """Cell (i, j, k) turns to (i, k, J - 1 - j); centered by its box; twice the largest radius becomes 1."""
    cells = sorted((i, k, voxel.shape[1] - 1 - j) for i, j, k in zip(*voxel.nonzero(), strict=True))
    middle = [(min(axis) + max(axis)) / 2 for axis in zip(*cells, strict=True)]
    moved = [[float(c - m) for c, m in zip(cell, middle, strict=True)] for cell in cells]
    radius = max(sum(x * x for x in point) ** 0.5 for point in moved)
    return [[x / (2 * radius) for x in point] for point in moved]


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("seed", [0, 1, pytest.param(secrets.randbits(32), id="fresh")])
def test_points_of_a_grid(tmp_path, seed, compressed):
    random = np.random.default_rng(seed)
    voxel = (random.random((9, 11, 13)) < 0.1).astype(np.uint8)
    savemat(tmp_path / "voxel.mat", {"other": [1, 2], "voxel": voxel}, do_compression=compressed)
    points = read_voxel_points(tmp_path / "voxel.mat")
    assert points.dtype == torch.float32
    np.testing.assert_allclose(points, by_the_authors_steps(voxel), atol=1e-7)


def test_numbers_of_the_authors_code(tmp_path):
    voxel = np.zeros((4, 4, 4))
    voxel[0, 1, 2] = voxel[1, 3, 0] = voxel[3, 0, 3] = 1
    savemat(tmp_path / "a.mat", {"voxel": voxel})
    # By read_voxel of meshrcnn/utils/shape.py
    expected = [[-0.288675, 0.096225, 0.096225], [-0.096225, -0.288675, -0.288675], [0.288675, 0.288675, 0.288675]]
    np.testing.assert_allclose(read_pix3d_voxels(tmp_path / "a.mat"), expected, atol=1e-6)


@pytest.mark.parametrize("voxel", [np.full((2, 2, 2), "a", object), np.ones((2, 4)), {"grid": 1}])
def test_what_is_no_grid_of_numbers_is_refused(tmp_path, voxel):
    savemat(tmp_path / "a.mat", {"voxel": voxel})
    with pytest.raises(InputError, match="no array of numbers 'voxel' with three axes"):
        read_pix3d_voxels(tmp_path / "a.mat")


def test_one_cell_lies_at_the_origin_and_no_cell_gives_no_point(tmp_path):
    voxel = np.zeros((3, 3, 3), np.uint8)
    savemat(tmp_path / "none.mat", {"voxel": voxel})
    assert read_pix3d_voxels(tmp_path / "none.mat").shape == (0, 3)
    voxel[1, 0, 2] = 1
    savemat(tmp_path / "one.mat", {"voxel": voxel})
    assert read_pix3d_voxels(tmp_path / "one.mat").tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", ["bool", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 1, 2), (2, 0, 3), (2, 3, 2, 2)])
def test_arrays_are_those_that_scipy_reads(tmp_path, dtype, shape, compressed):
    array = (np.random.default_rng(0).random(shape) * 3).astype(dtype)
    variables = {"text": "voxel", "struct": {"voxel": np.ones((1, 1, 1))}, "cells": np.array([1, "a"], object)}
    savemat(tmp_path / "a.mat", variables | {"voxel": array, "after": 1}, do_compression=compressed)
    read = mat_array("a.mat", (tmp_path / "a.mat").read_bytes(), "voxel", len(shape))
    assert read is not None
    np.testing.assert_array_equal(read, loadmat(tmp_path / "a.mat")["voxel"])
    np.testing.assert_array_equal(read, array)


def test_the_order_of_bytes_of_other_machines():
    header = b"MATLAB 5.0".ljust(124) + b"\1\0MI"

    def element(kind: int, body: bytes) -> bytes:
        return struct.pack(">II", kind, len(body)) + body + b"\0" * (-len(body) % 8)

    numbers = struct.pack(">4h", 1, 2, -3, 400)
    parts = [element(6, struct.pack(">II", 6, 0)), element(5, struct.pack(">3i", 2, 1, 2)), element(1, b"voxel")]
    content = header + element(14, b"".join(parts) + element(3, numbers))
    assert mat_array("a.mat", content, "voxel", 3).tolist() == [[[1, -3]], [[2, 400]]]


def matrix(numbers: bytes = b"\1" * 8, shape: tuple[int, ...] = (2, 2, 2), kind: int = 2) -> bytes:
    """A variable ``voxel`` of the class uint8."""
    flags = struct.pack("<IIII", 6, 8, 9, 0)
    sizes = struct.pack("<II", 5, 4 * len(shape)) + struct.pack(f"<{len(shape)}i", *shape)
    sizes += b"\0" * (-len(sizes) % 8)
    body = flags + sizes + struct.pack("<II", 1, 5) + b"voxel\0\0\0" + struct.pack("<II", kind, len(numbers)) + numbers
    return struct.pack("<II", 14, len(body)) + body


HEADER = b"MATLAB 5.0".ljust(124) + b"\0\1IM"


def packed(content: bytes) -> bytes:
    body = zlib.compress(content)
    return struct.pack("<II", 15, len(body)) + body


def test_the_matrix_of_these_faults_is_read_without_them():
    for content in (matrix(), packed(matrix())):
        assert mat_array("a.mat", HEADER + content, "voxel", 3).tolist() == np.ones((2, 2, 2)).tolist()


@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (matrix(shape=(2, 2, 3)), "cut off or damaged"),
        (matrix(shape=(2**31 - 1,) * 3), "cut off or damaged"),
        (matrix(shape=(-2, -2, 2)), "cut off or damaged"),
        (matrix(kind=8), "cut off or damaged"),
        (matrix()[:-1], "cut off or damaged"),
        (matrix()[:30], "cut off or damaged"),
        (matrix(shape=(2, 4)), "no array of numbers 'voxel' with three axes"),
        (matrix().replace(b"voxel", b"pixel"), "no array of numbers 'voxel'"),
        (b"", "no array of numbers 'voxel'"),
    ],
)
def test_faults_are_named(tmp_path, content, message, is_packed):
    if is_packed and content:
        content = packed(content)
    (tmp_path / "a.mat").write_bytes(HEADER + content)
    with pytest.raises(InputError, match=rf"a\.mat: .*{message}"):
        read_voxel_points(tmp_path / "a.mat")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "this is no .mat file of MATLAB 5 to 7"),
        (HEADER[:-1], "this is no .mat file of MATLAB 5 to 7"),
        (HEADER[:-4] + b"\0\2IM", "this is a .mat file of MATLAB 7.3, which is not read; save it with '-v7'"),
        (HEADER + packed(matrix())[:-9], "cut off or damaged"),
        (HEADER + b"\1\0\0", "cut off or damaged"),
    ],
)
def test_faults_of_files_are_named(tmp_path, content, message):
    (tmp_path / "a.mat").write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.mat: .*{message}"):
        read_voxel_points(tmp_path / "a.mat")


def test_little_data_that_holds_much_is_not_unpacked(tmp_path):
    much = bytes(2**23)
    content = HEADER + packed(matrix(much).replace(b"voxel", b"pixel")) + packed(matrix() + much) + packed(matrix(much))
    (tmp_path / "a.mat").write_bytes(content)
    tracemalloc.start()
    try:
        assert len(read_voxel_points(tmp_path / "a.mat")) == 8
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**20
