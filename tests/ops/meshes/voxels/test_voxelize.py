"""`voxelize` against winding numbers, trimesh, closed forms, `cubify`, and what must not change the result."""

import sys

import pytest
import torch
from closed_meshes import box, centers, packed, sphere, tangle, torus, winding_numbers
from scipy.spatial import Delaunay

from detkit.errors import InputError
from detkit.mesh_files import read_mesh
from detkit.ops.meshes import cubify, voxelize

SEEDS = [0, 1, pytest.param(torch.seed() % 2**31, id="fresh")]
SIZE = (8, 9, 10)
CELL = torch.tensor([2 / 9, 2 / 8, 2 / 7], dtype=torch.float64)  # of SIZE, x y z

TRIMESH = {
    "cube": (10648, 122452, 111804, 122452),
    "fish": (476, 5288, 4456, 6913),
    "goathead": (1114, 13243, 9685, 12489),
    "koala": (759, 8453, 9082, 7727),
    "penguin": (837, 9429, 7715, 10068),
    "sphere": (5408, 60093, 58386, 60885),
    "spot": (1269, 13991, 11749, 14456),
    "spot_control_mesh": (1582, 17587, 14163, 17732),
    "torus": (782, 8693, 8325, 8847),
    "wingnut": (631, 6984, 6053, 7060),
}
"""Of `Trimesh.contains` (trimesh 5.2.0) at the centers: how many cells, and the sums of their x, y and z indices."""


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def voxels_of(*meshes, size=SIZE):
    return voxelize(*packed(*meshes), size)


@pytest.mark.parametrize("seed", SEEDS)
def test_equals_winding_numbers_of_surfaces_that_pass_through_themselves(seed):
    generator = seeded(seed)
    meshes = [tangle(generator, scale) for scale in (1.0, 1.8, 0.5, 1.2, 1.2, 1.2)]
    result = voxels_of(*meshes)
    assert result.shape == (6, *SIZE)
    for own, (vertices, faces) in zip(result, meshes, strict=True):
        winding = winding_numbers(centers(SIZE), vertices, faces)
        torch.testing.assert_close(winding, winding.round())  # as closed surfaces have
        assert torch.equal(own, winding.round() != 0)


@pytest.mark.parametrize("name", TRIMESH)
def test_equals_trimesh(name, shared):
    path = shared / "data" / "meshes" / f"{name}.obj"
    if not path.is_file():
        pytest.skip(f"no {path}")
    mesh = read_mesh(path)
    vertices = mesh.vertices.double()
    low, high = vertices.amin(0), vertices.amax(0)
    vertices = (vertices - (low + high) / 2) / (high - low).max() * 1.9
    vertices = vertices + torch.tensor([0.011, -0.017, 0.023], dtype=torch.float64)
    z, y, x = voxels_of((vertices, mesh.faces), size=(24, 24, 24))[0].nonzero().unbind(1)
    assert (len(x), int(x.sum()), int(y.sum()), int(z.sum())) == TRIMESH[name]


@pytest.mark.parametrize("name", ["hand", "plane"])
def test_meshes_with_holes_are_refused(name, shared):
    path = shared / "data" / "meshes" / f"{name}.obj"
    if not path.is_file():
        pytest.skip(f"no {path}")
    mesh = read_mesh(path)
    vertices = mesh.vertices / mesh.vertices.abs().max()
    with pytest.raises(InputError, match="mesh 0: its faces are no closed surface"):
        voxels_of((vertices, mesh.faces), size=(48, 48, 48))


def volume_and_centroid(vertices, faces):
    """Of a solid, from its surface by the divergence theorem."""
    corners = vertices[faces]
    volumes = (corners[:, 0] * torch.linalg.cross(corners[:, 1], corners[:, 2])).sum(1) / 6
    return volumes.sum(), (corners.sum(1) / 4 * volumes[:, None]).sum(0) / volumes.sum()


BOX_LOW, BOX_HIGH = 2 * torch.tensor([[6, 14, 10], [28, 35, 22]]).double() / 39 - 1
SOLIDS = {
    "sphere": (sphere(5, 0.9), 4 / 3 * torch.pi * 0.9**3, lambda p: p.norm(dim=1) < 0.9),
    "torus": (
        torus(0.6, 0.3),
        2 * torch.pi**2 * 0.6 * 0.3**2,
        lambda p: (p[:, :2].norm(dim=1) - 0.6) ** 2 + p[:, 2] ** 2 < 0.3**2,
    ),
    "box": (box(BOX_LOW, BOX_HIGH), (44 * 42 * 24) / 39**3, lambda p: ((p > BOX_LOW) & (p < BOX_HIGH)).all(1)),
}
"""Mesh, volume, and which points are inside."""


@pytest.mark.parametrize("name", SOLIDS)
def test_cubes_of_the_cells_are_where_the_solid_is(name):
    mesh, volume, contains = SOLIDS[name]
    cells = voxels_of(mesh, size=(40, 40, 40))
    cubes = cubify(cells.double(), 0.5)
    own_volume, centroid = volume_and_centroid(cubes.vertices, cubes.faces)
    assert own_volume.item() == pytest.approx(volume, rel=0.03)
    assert (centroid - (mesh[0].amin(0) + mesh[0].amax(0)) / 2).abs().max() < 0.3 * 2 / 39  # of a cell
    points = torch.rand(50_000, 3, generator=seeded(0), dtype=torch.float64) * 2 - 1
    x, y, z = ((points + 1) / 2 * 39).long().unbind(1)  # the cube that `cubify` makes there
    ours, expected = cells[0, z, y, x], contains(points)
    assert ((ours & expected).sum() / (ours | expected).sum()).item() > 0.9


@pytest.mark.parametrize("seed", SEEDS)
def test_cells_come_back_from_cubify(seed):
    voxels = torch.rand(4, *SIZE, generator=seeded(seed)) > torch.tensor([0.5, 0.9, 0.1, 1.0]).view(4, 1, 1, 1)
    cubes = cubify(voxels.float(), 0.5)
    assert torch.equal(voxelize(cubes.vertices, cubes.faces, cubes.face_counts, SIZE), voxels)


@pytest.mark.parametrize("seed", SEEDS)
def test_solids_that_touch_share_no_center(seed):
    size = (5, 9, 9)  # centers without rounding; most corners lie on them, and so do edges and faces between these
    lattice = centers(size)[::2, ::3, ::2].reshape(-1, 3)
    corners = torch.cat([lattice, torch.rand(20, 3, generator=seeded(seed), dtype=torch.float64) - 0.5])
    solids = torch.from_numpy(Delaunay(corners.numpy()).simplices).long()
    sides = torch.tensor([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]])
    faces = torch.stack([solids[:, side] for side in sides], dim=1)  # all turned alike
    result = voxelize(corners, faces.view(-1, 3), torch.full((len(solids),), 4), size)
    expected = torch.zeros(size, dtype=torch.int64)
    expected[:4, :6, :8] = 1  # of the hull's sides, the lesser ones belong to it
    assert torch.equal(result.sum(0), expected)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_no_column_slips_between_triangles(seed, dtype):
    # All corners lie on centers, and many edges pass through others, but for rounding.
    generator, (_, faces) = seeded(seed), sphere(2)
    lattice = torch.randint(33, (20, faces.max() + 1, 3), generator=generator)
    meshes = [(2 * (corners.to(dtype) + 0.5) / 32 - 1, faces) for corners in lattice]
    assert voxels_of(*meshes, size=(33, 33, 33)).flatten(1).any(1).all()  # an open one would be refused


@pytest.mark.parametrize("seed", SEEDS)
def test_whole_cells_of_translation(seed):
    generator = seeded(seed)
    tangles = [tangle(generator, 0.5) for _ in range(4)]  # one alone may miss all centers of cells
    shift = torch.tensor([2, -1, 1])
    here = voxels_of(*tangles)
    there = voxels_of(*[(vertices + shift * CELL, faces) for vertices, faces in tangles])
    assert here.any()
    padded = torch.nn.functional.pad(here, (2, 0, 0, 1, 1, 0))
    assert torch.equal(there, padded[:, : SIZE[0], 1:, : SIZE[2]])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_mirror(seed, axis):
    vertices, faces = tangle(seeded(seed))
    mirrored = vertices.clone()
    mirrored[:, axis] = CELL[axis] - vertices[:, axis]  # about the middle of the grid
    here, there = voxels_of((vertices, faces), (mirrored, faces))
    assert here.any()
    assert torch.equal(there, here.flip(2 - axis))


@pytest.mark.parametrize("seed", SEEDS)
def test_order_and_side_of_faces_and_merging_of_vertices_change_nothing(seed):
    generator = seeded(seed)
    vertices, faces = tangle(generator)
    turned = faces[torch.randperm(len(faces), generator=generator)].roll(1, dims=1)
    unmerged = vertices[faces].view(-1, 3), torch.arange(faces.numel()).view(-1, 3)
    result = voxels_of((vertices, faces), (vertices, turned), (vertices, faces.flip(1)), unmerged)
    assert result[0].any()
    for other in result[1:]:
        assert torch.equal(other, result[0])


def together(one, other):
    """Two meshes as one object."""
    return torch.cat([one[0], other[0]]), torch.cat([one[1], other[1] + len(one[0])])


def test_shells_within_shells():
    outer, inner, beside = sphere(2, 0.9), sphere(2, 0.4), box((0.2, 0.2, 0.2), (1, 1, 1))
    turned = inner[0], inner[1].flip(1)
    one, two, three = voxels_of(outer, inner, beside)
    cavity, filled, union = voxels_of(together(outer, turned), together(outer, inner), together(outer, beside))
    assert two.any()
    assert torch.equal(cavity, one & ~two)
    assert torch.equal(filled, one)
    assert torch.equal(union, one | three)


def test_outside_of_the_grid():
    whole = box((-3, -3, -3), (3, 3, 3))
    behind, beside = box((-1, -1, 2), (1, 1, 3)), box((-9, -1, -1), (-2, 1, 1))
    before_and_half_in = box((-1, -1, -5), (1, 1, 0))
    unused = torch.cat([behind[0], torch.full((1, 3), torch.nan, dtype=torch.float64)]), behind[1]
    result = voxels_of(whole, behind, beside, before_and_half_in, unused)
    assert result[0].all()
    assert not result[[1, 2, 4]].any()
    assert result[3].sum() == 3 * 8 * 9  # centers below 0 along z, and below 1 along y and x


def test_objects_without_faces():
    vertices, faces, counts = packed(sphere(1))
    result = voxelize(vertices, faces, torch.tensor([0, len(faces), 0]), SIZE)
    assert result.flatten(1).any(1).tolist() == [False, True, False]
    assert voxelize(vertices, faces[:0], counts[:0], SIZE).shape == (0, *SIZE)
    assert not voxelize(vertices[:0], faces[:0], torch.zeros(2, dtype=torch.int64), SIZE).any()


def test_dtypes():
    vertices, faces, counts = packed(sphere(2, 0.9), torus(0.6, 0.25))
    exact = voxelize(vertices, faces, counts, SIZE)
    assert exact.dtype == torch.bool
    assert torch.equal(voxelize(vertices.float(), faces, counts, SIZE), exact)
    halves = voxelize(vertices.half(), faces, counts, SIZE)
    assert torch.equal(halves, voxelize(vertices.half().double(), faces, counts, SIZE))


@pytest.mark.parametrize("block", [1, 7, 100])
def test_memory_is_bounded_by_blocks(block, monkeypatch):
    meshes = [tangle(seeded(5)), sphere(1)]
    expected = voxels_of(*meshes)
    module = sys.modules[voxelize.__module__]
    sizes = []

    def recorded(counts, limit):
        for group, number in members(counts, limit):
            sizes.append(len(group))
            yield group, number

    members = module.members
    monkeypatch.setattr(module, "members", recorded)
    monkeypatch.setattr(module, "BLOCK", block)
    assert torch.equal(voxels_of(*meshes), expected)
    assert max(sizes) == block


def test_bad_input():
    vertices, faces, counts = packed(sphere(1), box((-0.5, -0.5, -0.5), (0.5, 0.5, 0.5)))
    with pytest.raises(InputError, match="mesh 1: its faces are no closed surface"):
        voxelize(vertices, faces[:-1], counts - torch.tensor([0, 1]), (30, 30, 30))
    turned = torch.cat([faces[:5].flip(1), faces[5:]])
    with pytest.raises(InputError, match="mesh 0: its faces are no closed surface, or are not all turned alike"):
        voxelize(vertices, turned, counts, (30, 30, 30))
    for wrong in (torch.nan, torch.inf):
        broken = vertices.clone()
        broken[-1, 1] = wrong
        with pytest.raises(InputError, match="mesh 1: a vertex has a coordinate that is NaN or infinite"):
            voxelize(broken, faces, counts, SIZE)
    with pytest.raises(InputError, match=r"size must be D, H and W of at least 2 each, got \(8, 1, 8\)"):
        voxelize(vertices, faces, counts, (8, 1, 8))
    with pytest.raises(InputError, match=r"faces must have shape \(F, 3\)"):
        voxelize(vertices, faces[:, :2], counts, SIZE)
    with pytest.raises(InputError, match="vertices must be floating point"):
        voxelize(vertices.long(), faces, counts, SIZE)
