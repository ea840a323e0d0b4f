"""glTF and GLB files: of trimesh, and with each feature of the specification; each fault is named."""

from __future__ import annotations

import json
import secrets
import struct

import files_of_trimesh
import numpy as np
import pytest
import torch
from gltf_documents import SQUARE, SQUARE_FACES, Document, glb, square
from scipy.spatial.transform import Rotation

from detkit.errors import InputError
from detkit.mesh_files import read_gltf_objects, read_mesh


def test_a_file_of_trimesh(tmp_path):
    (tmp_path / "a.glb").write_bytes(files_of_trimesh.GLB)
    mesh = read_mesh(tmp_path / "a.glb")
    np.testing.assert_allclose(mesh.vertices, files_of_trimesh.GLB_VERTICES, atol=1e-6)
    assert mesh.faces.tolist() == files_of_trimesh.GLB_FACES
    objects = read_gltf_objects(tmp_path / "a.glb")
    assert objects.topology.vertex_counts.tolist() == [4, 4]
    assert objects.faces_list()[1].tolist() == [[1, 2, 0], [3, 1, 0], [3, 2, 1], [3, 0, 2]]


@pytest.mark.parametrize("form", ["data", "file", "chunk"])
def test_the_three_forms_of_a_buffer(tmp_path, form):
    mesh = read_mesh(square().write(tmp_path / "a.gltf", form))
    assert mesh.vertices.tolist() == SQUARE
    assert mesh.faces.tolist() == SQUARE_FACES


@pytest.mark.parametrize("code", ["u1", "u2", "u4"])
@pytest.mark.parametrize(
    ("mode", "corners", "faces"),
    [
        (None, [0, 1, 2, 2, 3, 0], [[0, 1, 2], [2, 3, 0]]),
        (4, [0, 1, 2, 2, 3, 0], [[0, 1, 2], [2, 3, 0]]),
        # Specification 3.7.2.1: p_i = {v_i, v_(i + (1 + i % 2)), v_(i + (2 - i % 2))}
        (5, [0, 1, 3, 2], [[0, 1, 3], [1, 2, 3]]),
        (5, [0, 1, 3, 2, 2, 0, 0, 1, 3], [[0, 1, 3], [1, 2, 3], [0, 1, 3]]),  # two strips, joined by 2 2 0 0
        # p_i = {v_(i + 1), v_(i + 2), v_0}, of which the first corner comes first here
        (6, [0, 1, 2, 3], [[0, 1, 2], [0, 2, 3]]),
        (0, [0, 1], []),
        (1, [0, 1], []),
        (3, [0, 1, 2], []),
    ],
)
def test_modes_and_types_of_indices(tmp_path, code, mode, corners, faces):
    document = Document()
    primitive = {
        "attributes": {"POSITION": document.accessor(SQUARE, "f4")},
        "indices": document.accessor(corners, code),
    }
    document.mesh(primitive | ({} if mode is None else {"mode": mode}))
    mesh = read_mesh(document.write(tmp_path / "a.gltf"))
    assert mesh.vertices.tolist() == SQUARE
    assert mesh.faces.tolist() == faces


@pytest.mark.parametrize(("mode", "faces"), [(4, [[0, 1, 2]]), (5, [[0, 1, 2]]), (6, [[0, 1, 2]])])
def test_vertices_in_order_without_indices(tmp_path, mode, faces):
    document = Document()
    document.mesh({"attributes": {"POSITION": document.accessor(SQUARE[:3], "f4")}, "mode": mode})
    assert read_mesh(document.write(tmp_path / "a.gltf")).faces.tolist() == faces


def test_interleaved_rows_with_an_offset(tmp_path):
    document = Document()
    rows = b"".join(struct.pack("<ff3f", 7, 7, *point) for point in SQUARE)
    view = document.view(b"1234" + rows, byteStride=20)
    # The last row ends with its three numbers, before the stride does.
    position = document.accessor(SQUARE, "f4", bufferView=view, byteOffset=12)
    document.mesh({"attributes": {"POSITION": position}, "mode": 6})
    assert read_mesh(document.write(tmp_path / "a.gltf")).vertices.tolist() == SQUARE


@pytest.mark.parametrize("has_base", [True, False])
@pytest.mark.parametrize("code", ["u1", "u2", "u4"])
def test_sparse_accessors(tmp_path, has_base, code):
    document = Document()
    sparse = {
        "count": 2,
        "indices": {"bufferView": document.view(np.array([1, 3], code).tobytes()), "componentType": 5121},
        "values": {"bufferView": document.view(struct.pack("<7f", 9, 5, 6, 7, 8, 9, 10)), "byteOffset": 4},
    }
    sparse["indices"]["componentType"] = {"u1": 5121, "u2": 5123, "u4": 5125}[code]
    base = {"bufferView": document.view(np.array(SQUARE, "<f4").tobytes())} if has_base else {}
    position = document.accessor(SQUARE, "f4", sparse=sparse, **base)
    document.mesh({"attributes": {"POSITION": position}, "mode": 6})
    expected = np.array(SQUARE) * has_base
    expected[[1, 3]] = [[5, 6, 7], [8, 9, 10]]
    assert read_mesh(document.write(tmp_path / "a.gltf")).vertices.tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("code", "normalized", "expected"),
    [("i2", True, [[1, -1, 0]]), ("i2", False, [[32767, -32768, 0]]), ("u1", True, [[1, 0.2, 0]])],
)
def test_quantized_positions(tmp_path, code, normalized, expected):
    document = Document()
    rows = [[32767, -32768, 0] if code == "i2" else [255, 51, 0]]
    view = document.view(np.array(rows, "<" + code).tobytes())
    position = document.accessor(rows, code, bufferView=view, normalized=normalized)
    document.mesh({"attributes": {"POSITION": position}, "mode": 0})
    document.parts["extensionsRequired"] = ["KHR_mesh_quantization", "KHR_materials_unlit", "KHR_texture_transform"]
    vertices = read_mesh(document.write(tmp_path / "a.gltf")).vertices
    np.testing.assert_allclose(vertices, expected, rtol=1e-6)


def test_primitives_of_one_accessor_share_its_vertices(tmp_path):
    document = Document()
    first, second = document.accessor(SQUARE, "f4"), document.accessor(SQUARE[:3], "f4")
    faces = [document.accessor(face, "u2") for face in SQUARE_FACES]
    document.mesh(
        {"attributes": {"POSITION": first}, "indices": faces[0]},
        {"attributes": {"POSITION": second}},
        {"attributes": {"POSITION": first}, "indices": faces[1]},
    )
    mesh = read_mesh(document.write(tmp_path / "a.gltf"))
    assert len(mesh.vertices) == 7
    assert mesh.faces.tolist() == [[0, 1, 2], [4, 5, 6], [0, 2, 3]]


@pytest.mark.parametrize("seed", [0, 1, 2, pytest.param(secrets.randbits(32), id="fresh")])
def test_nodes_move_their_meshes_and_children(tmp_path, seed):
    random = np.random.default_rng(seed)
    document = square()
    translation, scale, rotation = random.normal(size=3), random.normal(size=3), Rotation.random(rng=random)
    matrix = np.eye(4)
    matrix[:3] = random.normal(size=(3, 4))
    document.parts["nodes"] = [
        {"matrix": matrix.T.ravel().tolist(), "children": [2]},  # column by column
        {"mesh": 0},  # in no scene
        {
            "mesh": 0, "translation": translation.tolist(), "scale": scale.tolist(),
            "rotation": (rotation.as_quat() * 1.001).tolist(), "children": [3],
        },
        {"mesh": 0, "translation": [0, 0, 5]},
    ]  # fmt: skip
    document.parts |= {"scenes": [{"nodes": [1]}, {"nodes": [0]}], "scene": 1}
    objects = read_gltf_objects(document.write(tmp_path / "a.glb", "chunk"))

    def outer(points: np.ndarray) -> np.ndarray:
        return np.array(
            [matrix[:3, :3] @ (rotation.apply(point * scale) + translation) + matrix[:3, 3] for point in points]
        )

    mirrors = np.linalg.det(matrix[:3, :3]) * np.prod(scale) < 0
    for mesh, shift in zip(objects.vertices_list(), ([0, 0, 0], [0, 0, 5]), strict=True):
        np.testing.assert_allclose(mesh, outer(np.array(SQUARE) + shift), rtol=1e-5, atol=1e-5)
    for faces in objects.faces_list():
        assert faces.tolist() == ([face[::-1] for face in SQUARE_FACES] if mirrors else SQUARE_FACES)


def test_nodes_come_before_their_children_in_the_order_of_the_file(tmp_path):
    document = square()
    document.parts["nodes"] = [{"mesh": 0, "translation": [index, 0, 0]} for index in range(6)]
    document.parts["nodes"][1]["children"] = [4, 2]
    document.parts["nodes"][4]["children"] = [3]
    document.parts["scenes"] = [{"nodes": [5, 1, 0]}]
    objects = read_gltf_objects(document.write(tmp_path / "a.gltf"))
    assert [int(points[0, 0]) for points in objects.vertices_list()] == [5, 1, 1 + 4, 1 + 4 + 3, 1 + 2, 0]


def test_without_scenes_all_nodes_are_shown_once(tmp_path):
    document = square()
    del document.parts["scenes"]
    document.parts["nodes"] = [{"mesh": 0, "translation": [1, 0, 0]}, {"children": [0], "translation": [2, 0, 0]}, {}]
    objects = read_gltf_objects(document.write(tmp_path / "a.gltf"))
    assert objects.vertices.tolist() == [[x + 3, y, z] for x, y, z in SQUARE]


def test_a_chain_of_nodes_may_be_long(tmp_path):
    document = square()
    document.parts["nodes"] = [{"children": [index + 1], "translation": [1, 0, 0]} for index in range(2000)]
    document.parts["nodes"].append({"mesh": 0})
    document.parts["scenes"] = [{"nodes": [0]}]
    assert read_mesh(document.write(tmp_path / "a.gltf")).vertices[0].tolist() == [2000, 0, 0]


def test_scenes_without_meshes(tmp_path):
    document = Document()
    path = document.write(tmp_path / "a.gltf")
    assert len(read_gltf_objects(path)) == 0
    with pytest.raises(InputError, match=r"a\.gltf: the scene of this glTF file has no mesh"):
        read_mesh(path)


FAULTS = {
    "version": ({"asset": {"version": "1.0"}}, r"this is glTF '1\.0', and 2\.0 is read"),
    "minVersion": ({"asset": {"version": "2.1", "minVersion": "2.1"}}, r"this is glTF '2\.1'"),
    "no asset": ({"asset": None}, r"asset is None, and should be an object"),
    "Draco": (
        {"extensionsRequired": ["KHR_draco_mesh_compression"]},
        "compressed with Draco .*; export it without compression",
    ),
    "meshopt": ({"extensionsRequired": ["EXT_meshopt_compression"]}, "compressed with meshopt"),
    "extension": (
        {"extensionsRequired": ["EXT_mesh_gpu_instancing"]},
        "requires the extension 'EXT_mesh_gpu_instancing'",
    ),
    "scene": ({"scene": 4}, r"scenes\[4\] is used, and the file has 1"),
    "no list": ({"nodes": {}}, r"nodes is \{\}, and should be a list"),
    "no object": ({"nodes": [3]}, r"nodes\[0\] is 3, and should be an object"),
    "no node": ({"nodes": []}, r"nodes\[0\] is used, and the file has 0"),
    "circle": ({"nodes": [{"children": [0]}]}, r"nodes\[0\] has two parents, or is its own"),
    "two parents": ({"nodes": [{"children": [1, 1]}, {}]}, r"nodes\[1\] has two parents"),
    "children": (
        {"nodes": [{"children": [-1]}]},
        r"nodes\[0\]\.children is \[-1\], and should be a list of whole numbers",
    ),
    "matrix": ({"nodes": [{"matrix": [1] * 15}]}, r"nodes\[0\]\.matrix is .*, and should be 16 finite numbers"),
    "perspective": ({"nodes": [{"matrix": [1] * 16}]}, r"nodes\[0\]\.matrix is .* an affine one"),
    "rotation": ({"nodes": [{"rotation": [0, 0, 0, 0]}]}, r"nodes\[0\]\.rotation is .* a quaternion of length 1"),
    "scale": ({"nodes": [{"scale": [1, float("nan"), 1]}]}, r"nodes\[0\]\.scale is \[1, nan, 1\], .* 3 finite numbers"),
    "overflow": (
        {"nodes": [{"mesh": 0, "scale": [1e300] * 3}]},
        r"nodes\[0\]: vertex 1 has a coordinate that",
    ),
    "mesh": ({"nodes": [{"mesh": True}]}, r"nodes\[0\]\.mesh is True, and should be a whole number"),
    "meshes": ({"meshes": []}, r"meshes\[0\] is used, and the file has 0"),
    "attributes": ({"meshes": [{"primitives": [{}]}]}, r"meshes\[0\]\.primitives\[0\]\.attributes is missing"),
    "position": ({"meshes": [{"primitives": [{"attributes": {}}]}]}, r"\.attributes\.POSITION is missing"),
    "mode": (
        {"meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "mode": 7}]}]},
        r"primitives\[0\]\.mode is 7, and should be 0 to 6",
    ),
    "corners": (
        {"meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}]},
        "has 4 corners, which make no triangles",
    ),
    "swapped": (
        {"meshes": [{"primitives": [{"attributes": {"POSITION": 1}}]}]},
        r"accessors\[1\]\.type is 'SCALAR', and should be 'VEC3'",
    ),
    "compressed": (
        {
            "accessors": [{"componentType": 5126, "count": 4, "type": "VEC3"}],
            "meshes": [
                {"primitives": [{"attributes": {"POSITION": 0}, "extensions": {"KHR_draco_mesh_compression": {}}}]}
            ],
        },
        "compressed with Draco",
    ),
    "no buffer": ({"buffers": []}, r"buffers\[0\] is used, and the file has 0"),
    "no uri": ({"buffers": [{"byteLength": 54}]}, r"buffers\[0\] has no 'uri', and no binary chunk"),
    "short": (
        {"buffers": [{"byteLength": 54, "uri": "data:;base64,AAAA"}]},
        r"buffers\[0\] has 3 bytes in place",
    ),
    "no base64": (
        {"buffers": [{"byteLength": 54, "uri": "data:;base64,A"}]},
        r"buffers\[0\] has a data URI that",
    ),
    "no file": (
        {"buffers": [{"byteLength": 54, "uri": "b.bin"}]},
        r"buffers\[0\] is the file 'b\.bin', which does",
    ),
    "long name": ({"buffers": [{"byteLength": 54, "uri": "b" * 5000}]}, r"buffers\[0\] is the file 'bbb.*does not"),
    "null": ({"buffers": [{"byteLength": 54, "uri": "b%00"}]}, r"buffers\[0\] is the file 'b%00', which does not"),
    "network": (
        {"buffers": [{"byteLength": 54, "uri": "https://a.b/c"}]},
        r"'https://a\.b/c', which is no file beside",
    ),
    "device": ({"buffers": [{"byteLength": 54, "uri": "/dev/zero"}]}, r"'/dev/zero', which is no file beside"),
    "device beside": (
        {"buffers": [{"byteLength": 54, "uri": "../" * 30 + "dev/zero"}]},
        r"dev/zero', which does",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_of_documents_are_named(tmp_path, name):
    changes, message = FAULTS[name]
    document = square()
    document.parts |= changes
    text_path = document.write(tmp_path / "a.gltf")
    if not changes.get(next(iter(changes)), True):  # an empty list, which `write` leaves out
        text_path.write_text(json.dumps(document.parts))
    with pytest.raises(InputError, match=f"a\\.gltf[:,] .*{message}"):
        read_mesh(text_path)


@pytest.mark.parametrize(
    ("accessor", "change", "message"),
    [
        (0, {"count": 0}, r"accessors\[0\]\.count is 0, and should be a whole number, 1 or more"),
        (0, {"count": 10**12}, r"accessors\[0\] has data up to byte 12000000000000, and its buffer view has 48 bytes"),
        (0, {"count": 5}, r"accessors\[0\] has data up to byte 60"),
        (0, {"byteOffset": 4}, r"accessors\[0\] has data up to byte 52"),
        (0, {"componentType": 5124}, r"accessors\[0\]\.componentType is 5124, and should be one of 5120"),
        (0, {"type": "MAT4"}, r"accessors\[0\]\.type is 'MAT4'"),
        (0, {"bufferView": 9}, r"bufferViews\[9\] is used, and the file has 2"),
        (0, {"sparse": {"count": 1, "indices": {}}}, r"accessors\[0\]\.sparse\.values is missing"),
        (
            0,
            {
                "sparse": {
                    "count": 1,
                    "indices": {"bufferView": 1, "byteOffset": 5, "componentType": 5121},
                    "values": {},
                }
            },
            r"accessors\[0\]\.sparse\.values\.bufferView is missing",
        ),
        (
            0,
            {"count": 3, "sparse": {"count": 6, "indices": {"bufferView": 1, "componentType": 5121}, "values": {}}},
            r"accessors\[0\]\.sparse replaces row 3 of 3",
        ),
        (1, {"componentType": 5120}, r"accessors\[1\]\.componentType is 5120, and should be 5121, 5123 or 5125"),
        (1, {"count": 5}, r"primitives\[0\] has 5 corners, which make no triangles"),
    ],
)
def test_faults_of_accessors_are_named(tmp_path, accessor, change, message):
    document = square()
    document.parts["accessors"][accessor] |= change
    with pytest.raises(InputError, match=f"a\\.gltf: .*{message}"):
        read_mesh(document.write(tmp_path / "a.gltf"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"byteLength": 10**12}, r"bufferViews\[0\] ends at byte 1000000000000 of buffers\[0\], which has 54"),
        ({"byteOffset": 50}, r"bufferViews\[0\] ends at byte 98 of"),
        ({"byteStride": 8}, r"accessors\[0\] has rows of 12 bytes every 8"),
        ({"byteLength": None}, r"bufferViews\[0\]\.byteLength is None"),
    ],
)
def test_faults_of_views_are_named(tmp_path, change, message):
    document = square()
    document.parts["bufferViews"][0] |= change
    with pytest.raises(InputError, match=f"a\\.gltf: .*{message}"):
        read_mesh(document.write(tmp_path / "a.gltf"))


def test_rows_without_data_are_no_more_than_the_file_has_bytes(tmp_path):
    document = square()
    del document.parts["accessors"][0]["bufferView"]
    document.parts["accessors"][0]["count"] = 10**12
    with pytest.raises(InputError, match=r"accessors\[0\] has 1000000000000 rows without data"):
        read_mesh(document.write(tmp_path / "a.gltf"))


@pytest.mark.parametrize("bad", [-1, 4, 255])
def test_faces_that_name_no_vertex(tmp_path, bad):
    document = square()
    document.binary = document.binary[:-1] + struct.pack("<b" if bad < 0 else "<B", bad)
    with pytest.raises(InputError, match=rf"primitives\[0\] names vertex {bad % 256}, counted from 0, and has 4"):
        read_mesh(document.write(tmp_path / "a.gltf"))


def test_coordinates_that_are_no_number(tmp_path):
    document = square()
    document.binary = struct.pack("<f", np.nan) + document.binary[4:]
    with pytest.raises(InputError, match=r"a\.gltf, nodes\[0\]: vertex 0 has a coordinate that is no finite number"):
        read_mesh(document.write(tmp_path / "a.gltf"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "this is not a whole JSON file"),
        (b"[]", r"this is no glTF file, its JSON is \[\]"),
        (b"{}", "this is no glTF file, its JSON has no 'asset'"),
        (b"glTF", "this GLB file is cut off"),
        (b"glTF" + struct.pack("<II", 1, 20) + b"\0" * 8, "this is a GLB file of version 1, and 2 is read"),
        (glb(b"{}", b"")[:-1], "this GLB file is cut off"),
        (glb(b"{}", b"").replace(b"JSON", b"XXXX"), "this GLB file has no chunk of JSON"),
        (b"glTF" + struct.pack("<III", 2, 20, 2**32 - 1) + b"JSON", "this GLB file is cut off"),
    ],
)
def test_faults_of_files_are_named(tmp_path, content, message):
    (tmp_path / "a.glb").write_bytes(content)
    with pytest.raises(InputError, match=f"a\\.glb: {message}"):
        read_mesh(tmp_path / "a.glb")


def test_the_result_is_float32_on_the_cpu(tmp_path):
    mesh = read_mesh(square().write(tmp_path / "a.gltf"))
    assert mesh.vertices.dtype == torch.float32
    assert mesh.faces.dtype == torch.int64
