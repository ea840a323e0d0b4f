"""`Meshes` against plain loops in float64: packing, selection, edges, areas, normals, and what is refused."""

from __future__ import annotations

import pickle
import secrets

import numpy as np
import pytest
import torch

from detkit.errors import InputError
from detkit.ops.meshes import cubify, sample_points
from detkit.structures import Meshes

SEEDS = [0, 1, 2, pytest.param(secrets.randbits(32), id="fresh")]
NO_FACES = torch.zeros(0, 3, dtype=torch.int64)


def _random(seed: int, sizes=((7, 9), (0, 0), (4, 0), (12, 30))) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Objects with and without faces; some faces name a vertex twice."""
    random = np.random.default_rng(seed)
    vertices = [torch.from_numpy(random.normal(size=(count, 3))) for count, _ in sizes]
    faces = [torch.from_numpy(random.integers(0, max(v, 1), (f, 3))) for v, f in sizes]
    return vertices, faces


def _tetrahedron() -> tuple[torch.Tensor, torch.Tensor]:
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    return vertices, torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])


def _same(meshes: Meshes, vertices, faces) -> None:
    assert len(meshes) == len(vertices)
    for have, want in zip(meshes.vertices_list(), vertices, strict=True):
        assert torch.equal(have, want)
    for have, want in zip(meshes.faces_list(), faces, strict=True):
        assert torch.equal(have, want)


@pytest.mark.parametrize("seed", SEEDS)
def test_packed_faces_name_packed_vertices(seed):
    vertices, faces = _random(seed)
    meshes = Meshes(vertices, faces)
    _same(meshes, vertices, faces)
    corners = torch.cat([points[triangles] for points, triangles in zip(vertices, faces, strict=True)])
    assert torch.equal(meshes.vertices[meshes.faces], corners)
    assert meshes.topology.vertex_objects.tolist() == [0] * 7 + [2] * 4 + [3] * 12
    assert meshes.topology.face_objects.tolist() == [0] * 9 + [3] * 30


@pytest.mark.parametrize(
    "index",
    [0, -1, slice(1, 3), slice(None, None, -1), [3, 0, 0], [], [True, False, True, False],
     torch.tensor([2, 3]), torch.tensor(1), torch.tensor([True, False, False, True]), torch.zeros(4, dtype=torch.bool)],
)  # fmt: skip
def test_an_index_selects_objects(index):
    vertices, faces = _random(0)
    numbers = np.atleast_1d(np.arange(4)[np.asarray(index, dtype=int) if index == [] else index])
    chosen = Meshes(vertices, faces)[index]
    _same(chosen, [vertices[number] for number in numbers], [faces[number] for number in numbers])


def test_an_index_out_of_range_is_an_error():
    meshes = Meshes(*_random(0))
    for index in (4, -5, [4], torch.tensor([True])):
        with pytest.raises(IndexError):
            meshes[index]
    assert len(list(meshes)) == 4  # iteration ends


@pytest.mark.parametrize("counts", [(4,), (1, 3), (0, 2, 0, 2, 0), (1, 1, 1, 1), (0, 0, 4)])
def test_parts_are_the_objects_of_the_images_of_a_batch(counts):
    vertices, faces = _random(5)
    parts = Meshes(vertices, faces).split(counts)
    starts = np.cumsum([0, *counts])
    for part, start, end in zip(parts, starts[:-1], starts[1:], strict=True):
        _same(part, vertices[start:end], faces[start:end])
    _same(Meshes.cat(parts), vertices, faces)


def test_concatenation_keeps_objects():
    first, second = _random(0), _random(1, ((5, 6), (3, 1)))
    joined = Meshes.cat([Meshes(*first), Meshes([], []).to(dtype=torch.float64), Meshes(*second)])
    _same(joined, first[0] + second[0], first[1] + second[1])
    assert len(Meshes.cat([])) == 0
    with pytest.raises(InputError, match=r"torch\.float32 on cpu, torch\.float64 on cpu cannot be concatenated"):
        Meshes.cat([joined, joined.to(dtype=torch.float32)])


@pytest.mark.parametrize("seed", SEEDS)
def test_edges_equal_those_of_a_loop(seed):
    meshes = Meshes(*_random(seed))
    faces = meshes.faces.tolist()
    wanted = sorted({tuple(sorted(pair)) for a, b, c in faces for pair in ((a, b), (b, c), (c, a))})
    assert meshes.edges.tolist() == [list(pair) for pair in wanted]
    for (a, b, c), edges in zip(faces, meshes.topology.face_edges.tolist(), strict=True):
        assert [wanted[edge] for edge in edges] == [tuple(sorted(pair)) for pair in ((b, c), (c, a), (a, b))]
    owner = meshes.topology.vertex_objects.tolist()
    assert meshes.topology.edge_objects.tolist() == [owner[first] for first, _ in wanted]
    assert meshes.topology.edge_counts.tolist() == [
        sum(owner[first] == number for first, _ in wanted) for number in range(4)
    ]
    lengths = [float(np.linalg.norm(meshes.vertices[a].numpy() - meshes.vertices[b].numpy())) for a, b in wanted]
    np.testing.assert_allclose(meshes.edge_lengths().numpy(), lengths, rtol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_areas_and_normals_equal_those_of_a_loop(seed):
    meshes = Meshes(*_random(seed))
    vertices = meshes.vertices.numpy()
    summed = np.zeros_like(vertices)
    areas, normals = [], []
    for face in meshes.faces.tolist():
        a, b, c = vertices[face]
        vector = np.cross(b - a, c - a)
        areas.append(np.linalg.norm(vector) / 2)
        normals.append(vector / max(np.linalg.norm(vector), 1e-6))
        for corner in face:
            summed[corner] += vector
    lengths = np.maximum(np.linalg.norm(summed, axis=1, keepdims=True), 1e-6)
    np.testing.assert_allclose(meshes.face_areas().numpy(), areas, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(meshes.face_normals().numpy(), normals, atol=1e-9)
    np.testing.assert_allclose(meshes.vertex_normals().numpy(), summed / lengths, atol=1e-9)


@pytest.mark.parametrize("scale", [1e-5, 1e5], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_normals_do_not_depend_on_the_unit_of_length(scale, dtype):
    vertices, faces = _tetrahedron()
    meshes, scaled = (Meshes([vertices.to(dtype) * factor], [faces]) for factor in (1, scale))
    torch.testing.assert_close(scaled.face_normals(), meshes.face_normals())
    torch.testing.assert_close(scaled.vertex_normals(), meshes.vertex_normals())


def test_half_precision_is_computed_in_float32():
    vertices, faces = _tetrahedron()
    half = Meshes([(vertices * 300).half()], [faces])  # the areas are beyond float16
    assert half.face_areas().dtype == half.vertex_normals().dtype == torch.float32
    assert torch.equal(half.face_areas(), Meshes([vertices * 300], [faces]).face_areas())


@pytest.mark.parametrize("seed", SEEDS)
def test_operators_take_the_counts_of_objects(seed):
    meshes = Meshes(*_random(seed))
    assert meshes.vertex_counts.tolist() == [7, 0, 4, 12]
    samples, direct = (
        sample(torch.Generator().manual_seed(seed))
        for sample in (
            lambda generator: meshes.sample_points(5, generator),
            lambda generator: sample_points(meshes.vertices, meshes.faces, meshes.face_counts, 5, generator),
        )
    )
    assert samples.counts.tolist() == [5, 0, 0, 5]
    assert torch.equal(samples.points, direct.points)
    assert torch.equal(samples.normals, direct.normals)
    assert (samples.points[[0, 3]].flatten(1).abs().amax(1) > 0).all()


def test_results_of_operators_become_meshes_and_back():
    voxels = torch.rand(3, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    voxels[1] = 0
    packed = cubify(voxels, 0.5)
    meshes = Meshes.of_packed(packed)
    assert meshes.topology.vertex_counts.tolist() == packed.vertex_counts.tolist()
    assert meshes.topology.face_counts[1] == 0
    assert all(torch.equal(one, other) for one, other in zip(meshes.packed, packed, strict=True))


def test_normals_point_outwards_and_areas_are_those_of_the_figure():
    meshes = Meshes(*([part] for part in _tetrahedron()))
    outwards = torch.tensor([[0.0, 0, -1], [0, -1, 0], [-1, 0, 0], [3**-0.5] * 3])
    torch.testing.assert_close(meshes.face_normals(), outwards)
    torch.testing.assert_close(meshes.face_areas(), torch.tensor([0.5, 0.5, 0.5, 3**0.5 / 2]))


def test_gradients_are_finite_where_a_face_has_no_area():
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [0, 1, 0]], requires_grad=True)
    meshes = Meshes([vertices], [torch.tensor([[0, 1, 2], [0, 0, 1], [0, 1, 3]])])
    assert meshes.face_areas().tolist() == [0, 0, 0.5]
    assert meshes.face_normals()[:2].abs().sum() == 0
    (meshes.face_areas().sum() + meshes.face_normals().sum() + meshes.vertex_normals().sum()).backward()
    assert vertices.grad.isfinite().all()
    assert vertices.grad.abs().sum() > 0


def test_closed_open_and_degenerate_meshes():
    vertices, faces = _tetrahedron()
    twice = torch.cat([faces, faces[:1]])  # an edge of three faces
    pinched = torch.tensor([[0, 0, 1]])
    meshes = Meshes(
        [vertices, vertices, vertices, vertices, torch.zeros(0, 3), vertices],
        [faces, faces[1:], twice, pinched, NO_FACES, NO_FACES],
    )
    assert meshes.is_closed().tolist() == [True, False, False, False, False, False]
    assert meshes.euler_characteristics().tolist() == [2, 1, 3, 3, 0, 4]


def test_objects_without_faces_never_fail():
    for meshes in (Meshes([], []), Meshes([torch.zeros(0, 3)], [NO_FACES]), Meshes([torch.zeros(2, 3)], [NO_FACES])):
        assert meshes.edges.shape == (0, 2)
        assert meshes.topology.face_edges.shape == (0, 3)
        assert meshes.edge_lengths().shape == meshes.face_areas().shape == (0,)
        assert meshes.face_normals().shape == (0, 3)
        assert meshes.vertex_normals().abs().sum() == 0
        assert meshes.is_closed().tolist() == [False] * len(meshes)
        assert len(meshes[:0]) == 0


def test_new_vertices_keep_the_known_edges():
    meshes = Meshes(*_random(0))
    moved = meshes.with_vertices(meshes.vertices + 1)
    assert moved.topology is meshes.topology
    torch.testing.assert_close(moved.edge_lengths(), meshes.edge_lengths())
    with pytest.raises(InputError, match=r"the new vertices are \(2, 3\), those of the meshes \(23, 3\)"):
        meshes.with_vertices(torch.zeros(2, 3))


def test_meshes_move_and_are_pickled():
    meshes = Meshes(*_random(0))
    assert meshes.to("cpu").topology is meshes.topology
    assert meshes.to(dtype=torch.float32).vertices.dtype == torch.float32
    assert meshes.to("meta").faces.device.type == "meta"
    _same(pickle.loads(pickle.dumps(meshes)), meshes.vertices_list(), meshes.faces_list())
    assert repr(meshes) == "Meshes(4 objects, 23 vertices, 39 faces)"


POINTS = torch.zeros(3, 3)
FACE = torch.tensor([[0, 1, 2]])


@pytest.mark.parametrize(
    ("vertices", "faces", "message"),
    [
        ([POINTS], [], "1 tensors of vertices and 0 of faces"),
        ([POINTS, POINTS[:, :2]], [FACE, FACE], r"mesh 1: vertices must be \(V, 3\) floats, not \(3, 2\)"),
        ([POINTS.long()], [FACE], r"mesh 0: vertices must be .* torch.int64"),
        ([POINTS, POINTS], [FACE, FACE[0]], r"mesh 1: faces must be \(F, 3\) torch.int64, not \(3,\)"),
        ([POINTS], [FACE.int()], r"mesh 0: faces must be .* torch.int32"),
        ([POINTS, POINTS.double()], [FACE, FACE], r"mesh 1: its vertices are torch.float64 on cpu"),
        ([POINTS, POINTS], [FACE, torch.cat([FACE, FACE + 1])], r"mesh 1: face 1 names .* \[1, 2, 3\].* has 3"),
        ([POINTS[:0], POINTS], [FACE[:0], -FACE], r"mesh 1: face 0 names the vertices \[0, -1, -2\]"),
        ([POINTS[:0]], [FACE], "mesh 0: face 0 .* the mesh has 0"),
        ([POINTS, POINTS / 0], [FACE, FACE], "mesh 1: vertex 0 has a coordinate that is NaN"),
        ([POINTS[:0], torch.tensor([[0, 0, 0], [0, torch.inf, 0]])], [FACE[:0], FACE[:0]], "mesh 1: vertex 1 has"),
    ],
)  # fmt: skip
def test_wrong_meshes_are_refused_by_the_objects_number(vertices, faces, message):
    with pytest.raises(InputError, match=message):
        Meshes(vertices, faces)
