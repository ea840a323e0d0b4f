"""Written glTF and GLB files: valid by the specification, read again, and turned for viewers.

The validator of Khronos (gltf-validator 2.0.0-dev.3.10) finds neither errors nor warnings in such files; what it checks
of the parts that we write is checked here.
"""

from __future__ import annotations

import base64
import json
import secrets
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from test_obj import FACTS

from detkit.errors import InputError
from detkit.mesh_files import camera_to_y_up, glb_content, read_gltf_objects, read_mesh, read_obj, write_mesh
from detkit.structures import Meshes
from detkit.structures.meshes import icosphere

WIDTHS = {"SCALAR": 1, "VEC3": 3}
CODES = {5123: "<u2", 5125: "<u4", 5126: "<f4"}


def parts_of(path: Path) -> tuple[dict, bytes]:
    """The document and the buffer of a file, by the specification's chapter 4."""
    content = path.read_bytes()
    if path.suffix == ".gltf":
        document = json.loads(content)
        uri = document.get("buffers", [{"uri": ","}])[0]["uri"]
        return document, base64.b64decode(uri.partition(",")[2])
    assert struct.unpack_from("<4sII", content) == (b"glTF", 2, len(content))
    length, kind = struct.unpack_from("<I4s", content, 12)
    assert kind == b"JSON"
    assert length % 4 == 0
    document, rest = json.loads(content[20 : 20 + length]), content[20 + length :]
    if not rest:
        return document, b""
    size, kind = struct.unpack_from("<I4s", rest)
    assert kind == b"BIN\0"
    assert size % 4 == 0 and len(rest) == 8 + size  # noqa: PT018
    assert "uri" not in document["buffers"][0]
    assert 0 <= size - document["buffers"][0]["byteLength"] < 4
    return document, rest[8:]


def checked(path: Path) -> dict:
    """The document of a file whose accessors, views and buffer fit together."""
    document, binary = parts_of(path)
    assert document["asset"]["version"] == "2.0"
    assert [] not in document.values()
    for accessor in document.get("accessors", []):
        view = document["bufferViews"][accessor["bufferView"]]
        assert view["byteOffset"] % 4 == 0
        assert view["byteOffset"] + view["byteLength"] <= document["buffers"][0]["byteLength"] <= len(binary)
        code, width = CODES[accessor["componentType"]], WIDTHS[accessor["type"]]
        rows = np.frombuffer(binary, code, accessor["count"] * width, view["byteOffset"]).reshape(-1, width)
        assert rows.nbytes == view["byteLength"]
        if accessor["type"] == "VEC3":
            assert accessor["componentType"] == 5126
            assert view["target"] == 34962
            assert (accessor["min"], accessor["max"]) == (rows.min(axis=0).tolist(), rows.max(axis=0).tolist())
        else:
            assert view["target"] == 34963
            assert rows.max() < np.iinfo(code).max  # the largest value restarts a primitive
    return document


@pytest.mark.parametrize("suffix", [".glb", ".gltf", ".GLB"])
@pytest.mark.parametrize("seed", [0, 1, pytest.param(secrets.randbits(32), id="fresh")])
def test_several_objects_come_back_as_nodes(tmp_path, suffix, seed):
    random = np.random.default_rng(seed)
    sizes = [(20, 31), (3, 1), (5, 0), (1, 2)]
    meshes = Meshes(
        [
            torch.from_numpy(random.normal(size=(v, 3)) * 10.0 ** random.integers(-20, 20, (v, 1))).float()
            for v, _ in sizes
        ],
        [torch.from_numpy(random.integers(0, v, (f, 3))) for v, f in sizes],
    )
    path = tmp_path / f"a{suffix}"
    write_mesh(path, meshes)
    objects = read_gltf_objects(path)
    assert torch.equal(objects.vertices, meshes.vertices)
    assert torch.equal(objects.faces, meshes.faces)
    assert objects.topology.vertex_counts.tolist() == [20, 3, 5, 1]
    assert objects.topology.face_counts.tolist() == [31, 1, 0, 2]
    one = read_mesh(path)
    assert len(one) == 1
    assert torch.equal(one.faces, meshes.faces)
    if suffix != ".GLB":
        document = checked(path)
        assert [node["name"] for node in document["nodes"]] == ["object 0", "object 1", "object 2", "object 3"]
        assert [mesh["primitives"][0]["mode"] for mesh in document["meshes"]] == [4, 4, 0, 4]


@pytest.mark.parametrize("suffix", [".glb", ".gltf"])
def test_objects_without_vertices_and_no_objects(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    empty = Meshes([torch.zeros(0, 3)], [torch.zeros(0, 3, dtype=torch.int64)])
    write_mesh(path, Meshes.cat([empty, icosphere(0)]))
    assert [("mesh" in node) for node in checked(path)["nodes"]] == [False, True]
    assert len(read_gltf_objects(path)) == 1
    write_mesh(path, empty[:0])
    assert checked(path)["scenes"] == [{}]
    assert len(read_gltf_objects(path)) == 0


@pytest.mark.parametrize(("vertices", "component"), [(65535, 5123), (65536, 5125)])
def test_the_type_of_indices_grows_with_the_vertices(tmp_path, vertices, component):
    last = vertices - 1
    mesh = Meshes([torch.zeros(vertices, 3)], [torch.tensor([[0, 1, last]])])
    write_mesh(tmp_path / "a.glb", mesh)
    assert checked(tmp_path / "a.glb")["accessors"][1]["componentType"] == component
    assert read_mesh(tmp_path / "a.glb").faces.tolist() == [[0, 1, last]]


@pytest.mark.parametrize("name", FACTS)
def test_meshes_of_others_come_back(shared, tmp_path, name):
    file = shared / "data" / "meshes" / f"{name}.obj"
    if not file.is_file():
        pytest.skip(f"no {file}")
    mesh = read_obj(file)
    for suffix in (".glb", ".gltf"):
        write_mesh(tmp_path / f"a{suffix}", mesh)
        checked(tmp_path / f"a{suffix}")
        again = read_mesh(tmp_path / f"a{suffix}")
        assert torch.equal(again.vertices, mesh.vertices)
        assert torch.equal(again.faces, mesh.faces)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e39])
def test_what_no_reader_takes_is_not_written(tmp_path, value):
    sphere = icosphere(0).to(dtype=torch.float64)
    sphere.vertices[3, 1] = value
    with pytest.raises(InputError, match=r"a\.glb: vertex 3 has a coordinate that is NaN or infinite"):
        write_mesh(tmp_path / "a.glb", sphere)
    assert not (tmp_path / "a.glb").exists()


def test_the_camera_frame_is_turned_and_not_mirrored():
    camera = Meshes(
        [torch.tensor([[0.0, 0, 2], [1, 0, 2], [0, 1, 2], [0, 0, 3]])],
        [torch.tensor([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]])],
    )
    turned = camera_to_y_up(camera)
    # What lies right stays right, what lies down is down (y < 0), and what is away is away from the viewer (z < 0).
    assert turned.vertices.tolist() == [[0, 0, -2], [1, 0, -2], [0, -1, -2], [0, 0, -3]]
    assert torch.equal(turned.faces, camera.faces)

    def volume(meshes: Meshes) -> float:
        return float(torch.linalg.det(meshes.vertices[meshes.faces] - meshes.vertices[0]).sum() / 6)

    assert volume(turned) == pytest.approx(volume(camera)) == pytest.approx(1 / 6)
    assert torch.equal(camera_to_y_up(turned).vertices, camera.vertices)


def test_objects_have_names_and_colors(tmp_path):
    """188 of 255 in sRGB is half of the light, 0.5029, and 255 all of it."""
    meshes = Meshes.cat([icosphere(0), Meshes([torch.zeros(0, 3)], [torch.zeros(0, 3).long()]), icosphere(1)])
    path = tmp_path / "named.glb"
    path.write_bytes(glb_content(meshes, ["chair", "none", "table"], [(255, 188, 0), (1, 2, 3), (0, 0, 10)]))
    document = checked(path)
    assert [node["name"] for node in document["nodes"]] == ["chair", "none", "table"]
    used = [document["materials"][one["primitives"][0]["material"]] for one in document["meshes"]]
    colors = [material["pbrMetallicRoughness"]["baseColorFactor"] for material in used]
    assert colors == [pytest.approx([1, 0.50289, 0, 1], abs=1e-5), pytest.approx([0, 0, 10 / 255 / 12.92, 1], abs=1e-6)]
    assert torch.equal(read_gltf_objects(path).vertices, meshes.vertices)
