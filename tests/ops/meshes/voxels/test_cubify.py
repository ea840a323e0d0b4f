"""`cubify` against a loop over voxels, Euler's characteristic, and PyTorch3D's conventions."""

import itertools

import pytest
import torch

from detkit.errors import InputError
from detkit.ops.meshes import cubify

SEEDS = [0, 1, pytest.param(torch.seed() % 2**31, id="fresh")]


def unpacked(meshes):
    """Vertices and faces of each object, faces counted from its own first vertex."""
    first_vertex, objects = 0, []
    vertices = meshes.vertices.split(meshes.vertex_counts.tolist())
    for own, faces in zip(vertices, meshes.faces.split(meshes.face_counts.tolist()), strict=True):
        objects.append((own, faces - first_vertex))
        first_vertex += len(own)
    return objects


def solid(*boxes, size=6):
    voxels = torch.zeros(1, size, size, size, dtype=torch.float64)
    for value, (z, y, x) in boxes:
        voxels[0, slice(*z), slice(*y), slice(*x)] = value
    return voxels


def directed_edges(faces):
    return [(face[i], face[(i + 1) % 3]) for face in faces.tolist() for i in range(3)]


def cross(vertices, faces):
    a, b, c = vertices[faces].unbind(1)
    return torch.linalg.cross(b - a, c - a)


def looped(voxels, threshold):
    """The squares between occupied and empty cells, each as (outward axis and sign, the four grid points)."""
    depth, height, width = voxels.shape
    occupied = {
        (x, y, z)
        for z, y, x in itertools.product(range(depth), range(height), range(width))
        if voxels[z, y, x] >= threshold
    }
    squares = set()
    for cell in occupied:
        for axis, sign in itertools.product(range(3), (-1, 1)):
            if tuple(place + sign * (i == axis) for i, place in enumerate(cell)) in occupied:
                continue
            offsets = itertools.product(*[[(sign + 1) // 2] if i == axis else [0, 1] for i in range(3)])
            points = frozenset(tuple(p + o for p, o in zip(cell, offset, strict=True)) for offset in offsets)
            squares.add((axis, sign, points))
    return squares


def test_one_voxel_is_a_cube_with_pytorch3d_conventions():
    voxels = torch.zeros(1, 3, 4, 5)
    voxels[0, 1, 2, 3] = 1  # z, y, x
    (vertices, faces) = unpacked(cubify(voxels, 0.5))[0]
    assert vertices.shape == (8, 3)
    assert faces.shape == (12, 3)
    low = torch.tensor([2 * 3 / 4 - 1, 2 * 2 / 3 - 1, 2 * 1 / 2 - 1])
    torch.testing.assert_close(vertices.amin(0), low)
    torch.testing.assert_close(vertices.amax(0), low + torch.tensor([2 / 4, 2 / 3, 2 / 2]))
    # Vertices are ordered by y, then x, then z.
    assert torch.equal(vertices[:4, 1], vertices[:1, 1].expand(4))
    assert vertices[1, 2] > vertices[0, 2]
    assert vertices[2, 0] > vertices[0, 0]
    assert vertices[4, 1] > vertices[0, 1]
    # The edges along the diagonals of PyTorch3D's table, in its numbers of corners (ordered by x, then y, then z).
    ours = {(x, y, z): 4 * y + 2 * x + z for x, y, z in itertools.product((0, 1), repeat=3)}
    theirs = [tuple(int(bit) for bit in f"{i:03b}") for i in range(8)]
    diagonals = {
        frozenset((ours[theirs[a]], ours[theirs[b]])) for a, b in [(1, 2), (3, 6), (0, 6), (0, 5), (5, 6), (1, 7)]
    }
    assert diagonals <= {frozenset(edge) for edge in directed_edges(faces)}


def test_normals_point_outward():
    vertices, faces = unpacked(cubify(solid((1.0, ((2, 3), (2, 3), (2, 3)))), 0.5))[0]
    outward = vertices[faces].mean(1) - vertices.mean(0)
    assert ((cross(vertices, faces) * outward).sum(1) > 0).all()


@pytest.mark.parametrize(
    ("voxels", "characteristic"),
    [
        (solid((1, ((1, 4), (0, 6), (2, 3)))), 2),
        (solid((1, ((1, 4), (1, 4), (1, 4))), (0, ((1, 4), (2, 3), (2, 3)))), 0),  # a tunnel: a torus
        (solid((1, ((0, 2), (0, 3), (0, 5))), (0, ((0, 2), (1, 2), (1, 2))), (0, ((0, 2), (1, 2), (3, 4)))), -2),
        (solid((1, ((1, 4), (1, 4), (1, 4))), (0, ((2, 3), (2, 3), (2, 3)))), 4),  # a cavity: two spheres
        (solid((1, ((0, 1), (0, 1), (0, 1))), (1, ((4, 6), (4, 6), (4, 6)))), 4),  # two solids
    ],
    ids=["box", "torus", "two tunnels", "cavity", "two boxes"],
)
def test_euler_characteristic(voxels, characteristic):
    vertices, faces = unpacked(cubify(voxels, 0.5))[0]
    edges = directed_edges(faces)
    assert len(vertices) - len({frozenset(edge) for edge in edges}) + len(faces) == characteristic
    assert len(set(edges)) == len(edges)  # each directed edge once, and its reverse once: watertight
    assert set(edges) == {(end, start) for start, end in edges}


@pytest.mark.parametrize("seed", SEEDS)
def test_equals_a_loop_over_voxels(seed):
    generator = torch.Generator().manual_seed(seed)
    voxels = torch.rand(4, 3, 4, 5, generator=generator, dtype=torch.float64)
    voxels[1] = 0.1
    voxels[3] = 1.0
    scale = torch.tensor([4, 3, 2], dtype=torch.float64) / 2
    for own, (vertices, faces) in zip(voxels, unpacked(cubify(voxels, 0.6)), strict=True):
        places = ((vertices + 1) * scale).round().long()
        assert len(places.unique(dim=0)) == len(places)  # merged
        triangles, normals = places[faces], cross(places, faces)
        assert torch.equal(normals.abs().sum(1), torch.ones(len(faces), dtype=torch.int64))
        squares = set()
        for first, second, normal in zip(triangles[::2].tolist(), triangles[1::2].tolist(), normals[::2], strict=True):
            axis = int(normal.abs().argmax())
            squares.add((axis, int(normal[axis]), frozenset(map(tuple, first + second))))
        assert squares == looped(own, 0.6)
        assert len(faces) == 2 * len(squares)


@pytest.mark.parametrize("seed", SEEDS)
def test_area_and_volume_are_exact(seed):
    voxels = torch.rand(2, 5, 5, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    for own, (vertices, faces) in zip(voxels, unpacked(cubify(voxels, 0.5)), strict=True):
        area = cross(vertices, faces).norm(dim=1).sum() / 2
        assert area.item() == pytest.approx(len(looped(own, 0.5)) * 0.25)  # a side of 2 / (5 - 1)
        volume = (vertices[faces][:, 0] * cross(vertices, faces)).sum() / 6  # the divergence theorem
        assert volume.item() == pytest.approx(int((own >= 0.5).sum()) * 0.125)


def test_objects_do_not_meet():
    voxels = torch.rand(3, 4, 4, 4, generator=torch.Generator().manual_seed(3))
    alone = [unpacked(cubify(own[None], 0.5))[0] for own in voxels]
    for (vertices, faces), (own_vertices, own_faces) in zip(unpacked(cubify(voxels, 0.5)), alone, strict=True):
        assert torch.equal(vertices, own_vertices)
        assert torch.equal(faces, own_faces)


def test_empty():
    meshes = cubify(torch.zeros(2, 3, 3, 3), 0.5)
    assert meshes.vertices.shape == meshes.faces.shape == (0, 3)
    assert meshes.vertex_counts.tolist() == meshes.face_counts.tolist() == [0, 0]
    assert cubify(torch.zeros(0, 3, 3, 3), 0.5).face_counts.shape == (0,)
    voxels = torch.zeros(3, 3, 3, 3)
    voxels[1, 1, 1, 1] = 0.5  # of the threshold itself: occupied
    meshes = cubify(voxels, 0.5)
    assert meshes.vertex_counts.tolist() == [0, 8, 0]
    assert meshes.face_counts.tolist() == [0, 12, 0]


def test_dtypes():
    for dtype, expected in [(torch.float64, torch.float64), (torch.float16, torch.float32)]:
        meshes = cubify(torch.ones(1, 2, 2, 2, dtype=dtype), 0.5)
        assert (meshes.vertices.dtype, meshes.faces.dtype) == (expected, torch.int64)


def test_half_precision_is_compared_with_the_threshold_itself():
    """The number of bfloat16 next to 0.2 is greater, the one before it is less."""
    voxels = torch.full((1, 2, 2, 2), 0.19921875, dtype=torch.bfloat16)
    assert cubify(voxels, 0.1995).face_counts.tolist() == [0]
    assert cubify(voxels, 0.199).face_counts.tolist() == [12 * 4]


def test_bad_input():
    with pytest.raises(InputError, match=r"voxels must have shape \(N, D, H, W\)"):
        cubify(torch.zeros(3, 3, 3), 0.5)
    with pytest.raises(InputError, match="at least 2"):
        cubify(torch.zeros(1, 3, 1, 3), 0.5)
    with pytest.raises(InputError, match="floating point"):
        cubify(torch.zeros(1, 3, 3, 3, dtype=torch.bool), 0.5)
