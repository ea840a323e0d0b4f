"""Cut off and changed files of meshes and voxels: read, or refused in one sentence that names the file."""

from __future__ import annotations

import re
import secrets
import warnings
from pathlib import Path

import files_of_trimesh
import numpy as np
import pytest
import test_binvox
import test_pix3d_voxels
from gltf_documents import square
from test_ply import with_everything

from detkit.errors import InputError
from detkit.mesh_files import MESH_SUFFIXES, read_mesh
from detkit.voxel_files import read_voxel_points

WORDS = [
    b"1000000000000", b"-1", b"0", b"1e300", b"nan", b"[]", b"{}", b"null", b'"x"', b"true", b"list", b"2147483648",
    b"18446744073709551616", b"1.5",
]  # fmt: skip


def contents(folder: Path) -> dict[str, bytes]:
    """A file of each kind, by name."""
    square().write(folder / "square.gltf")
    square().write(folder / "square.glb", "chunk")
    mat = test_pix3d_voxels.HEADER + test_pix3d_voxels.matrix()
    return {
        "text.ply": with_everything(""),
        "little.ply": with_everything("<"),
        "big.ply": with_everything(">"),
        "trimesh.ply": files_of_trimesh.PLY_BINARY,
        "trimesh.glb": files_of_trimesh.GLB,
        "square.gltf": (folder / "square.gltf").read_bytes(),
        "square.glb": (folder / "square.glb").read_bytes(),
        "pyramid.obj": b"v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 3 2\nf 1 2 4\nf -1 -3 -2\nf 3 1 4\n",
        "a.binvox": test_binvox.OF_TRIMESH,
        "plain.mat": mat,
        "packed.mat": test_pix3d_voxels.HEADER + test_pix3d_voxels.packed(test_pix3d_voxels.matrix()),
    }


def changed(content: bytes, random: np.random.Generator) -> bytes:
    """A content that is cut off, has other bytes, fewer or more of them, or another word or number."""
    kind = random.integers(6)
    at = int(random.integers(len(content)))
    if kind == 0:
        return content[:at]
    if kind == 1:
        return content[:at] + random.bytes(int(random.integers(1, 5))) + content[at:]
    if kind == 2:
        return content[:at] + content[at + int(random.integers(1, 9)) :]
    if kind == 3:
        return content[:at] + bytes([random.choice([0, 1, 127, 128, 255])]) + content[at + 1 :]
    words = list(re.finditer(rb'-?\d+(\.\d+)?|"[^"]*"|[a-z_]+', content[:4000]))
    word = words[random.integers(len(words))]
    return content[: word.start()] + WORDS[random.integers(len(WORDS))] + content[word.end() :]


@pytest.mark.parametrize("seed", [0, pytest.param(secrets.randbits(32), id="fresh")])
def test_changed_files_are_read_or_refused(tmp_path, seed):
    random = np.random.default_rng(seed)
    messages: list[str] = []
    for name, content in contents(tmp_path).items():
        file = tmp_path / name
        for _ in range(40):
            file.write_bytes(changed(content, random))
            try:
                with warnings.catch_warnings(action="error"):
                    (read_mesh if file.suffix in MESH_SUFFIXES else read_voxel_points)(file)
            except InputError as error:
                messages.append(str(error).replace(str(file), "FILE"))
    assert len(messages) > 200
    assert [message for message in messages if not re.fullmatch("FILE[:, ].*", message)] == []


@pytest.mark.parametrize("name", ["text.ply", "little.ply", "big.ply", "square.glb", "a.binvox", "plain.mat"])
def test_beginnings_of_a_file_are_refused(tmp_path, name):
    content = contents(tmp_path)[name].rstrip()
    file = tmp_path / name
    last = len(content) - 1
    for length in [*range(0, last, 11), last]:
        file.write_bytes(content[:length])
        with pytest.raises(InputError, match=re.escape(name)):
            (read_mesh if file.suffix in MESH_SUFFIXES else read_voxel_points)(file)
