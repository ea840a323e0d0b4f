"""The rasterizer against closed forms, and against rays intersected with each triangle."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial import Delaunay

from detkit.errors import InputError
from detkit.rendering import Fragments, rasterize, rasterizer
from detkit.structures import Meshes
from detkit.structures.meshes import icosphere

CAMERA = torch.tensor([[60.0, 0.0, 37.2], [0.0, 66.0, 21.9], [0.0, 0.0, 1.0]])
SIZE = (48, 64)
SEEDS = [0, 1, 2, pytest.param(int(np.random.SeedSequence().generate_state(1)[0]), id="fresh")]


def rays_of(camera: torch.Tensor, size: tuple[int, int]) -> np.ndarray:
    """``(H * W, 3)`` float64, through the pixel centers, with z 1."""
    y, x = np.mgrid[: size[0], : size[1]].reshape(2, -1) + 0.5
    return np.linalg.solve(camera.double().numpy(), np.stack([x, y, np.ones(len(x))])).T


def nearest_hits(meshes: Meshes, camera: torch.Tensor, size: tuple[int, int], near: float):
    """By Moeller and Trumbore (1997), for each pixel: face, depth, and distance in barycentrics to the next edge."""
    first, second, third = meshes.vertices.double().numpy()[meshes.faces.numpy()].transpose(1, 0, 2)
    rays = rays_of(camera, size)[:, None]
    along, across = second - first, third - first
    p = np.cross(rays, across)
    determinant = (p * along).sum(-1)
    u = (p * -first).sum(-1) / determinant
    q = np.cross(-first, along)
    v = (q * rays).sum(-1) / determinant
    depth = (q * across).sum(-1) / determinant
    edges = np.stack([u, v, 1 - u - v])
    depth = np.where((edges >= 0).all(0) & (depth >= near), depth, np.inf)
    # Edges that are nearer than the hit make it uncertain.
    margin = np.abs(edges).min(axis=(0, 2))
    face = np.where(np.isfinite(depth.min(1)), depth.argmin(1), -1)
    return face.reshape(size), depth.min(1).reshape(size), margin.reshape(size)


def hits_of(vertices: torch.Tensor, parts: torch.Tensor, camera: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """``(H, W)`` int32, how many of the parts ``(P, F, 3)``, each rasterized alone, show at each pixel."""
    shown = [rasterize(Meshes([vertices], [part]), camera, size).face_map() >= 0 for part in parts]
    return torch.stack(shown).sum(dim=0, dtype=torch.int32)


def triangles_of(random: np.random.Generator, count: int, low: float, high: float) -> Meshes:
    side = max(1, high / 2)
    centers = random.uniform((-side, -side, low), (side, side, high), (count, 3))
    corners = torch.from_numpy(centers[:, None] + random.normal(0, 0.7, (count, 3, 3)))
    return Meshes(list(corners), [torch.tensor([[0, 1, 2]])] * count)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("low", "high"), [(2, 6), (-1, 2)], ids=["in front", "partly behind the camera"])
def test_each_pixel_shows_what_its_ray_hits_first(seed, low, high):
    meshes = triangles_of(np.random.default_rng(seed), 100, low, high)
    found = rasterize(meshes, CAMERA, SIZE, near=0.2)
    face, depth, margin = nearest_hits(meshes, CAMERA, SIZE, 0.2)
    clear = margin > 1e-9
    assert clear.mean() > 0.99
    assert (face >= 0).mean() > 0.2
    np.testing.assert_array_equal(found.face_map().numpy()[clear], face[clear])
    np.testing.assert_array_equal(found.object_map().numpy()[clear], face[clear])
    np.testing.assert_allclose(found.depth_map().numpy()[clear], depth[clear], rtol=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_barycentrics_lead_to_the_point_on_the_ray(seed):
    meshes = triangles_of(np.random.default_rng(seed), 40, 0, 4)
    found = rasterize(meshes, CAMERA, SIZE, near=0.1)
    points = found.interpolated(meshes.vertices.numpy(), meshes.faces.numpy())
    expected = rays_of(CAMERA, SIZE)[found.pixels].T * found.depth
    np.testing.assert_allclose(points, expected, rtol=1e-7, atol=1e-7)
    assert (found.barycentrics >= 0).all()
    np.testing.assert_allclose(found.barycentrics.sum(axis=0), 1, rtol=1e-12)


@pytest.mark.parametrize("center", [(0.0, 0.0, 4.0), (1.3, -0.6, 3.0), (-1.0, 0.9, 5.0)])
def test_a_sphere_has_the_area_and_depth_of_closed_form(center):
    radius, focal, size = 0.9, 400.0, (480, 640)
    camera = torch.tensor([[focal, 0, 290.3], [0, focal, 251.8], [0, 0, 1]])
    sphere = icosphere(5)
    meshes = sphere.with_vertices(sphere.vertices * radius + torch.tensor(center))
    found = rasterize(meshes, camera, size)
    x, y, z = center
    distance = x * x + y * y + z * z
    area = math.pi * (focal * radius) ** 2 * math.sqrt(distance - radius**2) / (z * z - radius**2) ** 1.5
    assert len(found.pixels) == pytest.approx(area, rel=2e-3)
    rays = rays_of(camera, size)
    squared, toward = (rays * rays).sum(1), rays @ np.array(center)
    discriminant = toward**2 - squared * (distance - radius**2)
    depth = np.where(discriminant >= 0, (toward - np.sqrt(np.maximum(discriminant, 0))) / squared, np.inf)
    shown = np.isin(np.arange(len(rays)), found.pixels)
    clear = np.abs(discriminant) > 0.05
    assert (shown == np.isfinite(depth))[clear].all()
    np.testing.assert_allclose(found.depth_map().flatten()[shown & clear], depth[shown & clear], atol=2e-3)


def test_a_square_owns_its_left_and_top_edges():
    """Its corners are pixel centers, all exact in binary, also in perspective."""
    camera = torch.tensor([[8.0, 0, 4.5], [0, 8, 4.5], [0, 0, 1]])
    corners = torch.tensor([[-2.0, -2, 8], [3, -2, 8], [3, 3, 8], [-2, 3, 8]])
    expected = torch.zeros(10, 10, dtype=torch.bool)
    expected[2:7, 2:7] = True
    for faces in ([[0, 1, 2], [0, 2, 3]], [[0, 1, 3], [1, 2, 3]], [[2, 1, 0], [3, 2, 0]]):
        triangles = torch.tensor(faces)
        assert torch.equal(hits_of(corners, triangles[None], camera, (10, 10)), expected.int())
        assert torch.equal(hits_of(corners, triangles[:, None], camera, (10, 10)), expected.int())


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("on_centers", [True, False], ids=["corners on pixel centers", "corners anywhere"])
def test_neighboring_faces_leave_no_gap_and_do_not_overlap(seed, on_centers):
    random = np.random.default_rng(seed)
    inner = random.uniform(-2, 14, (50, 2))
    border = np.stack([np.array([-4, 16])[np.arange(4) % 2], np.array([-4, 16])[np.arange(4) // 2]], axis=1)
    points = np.unique(np.concatenate([np.round(inner) if on_centers else inner, border]), axis=0)
    depth = 2.0 ** random.integers(0, 3, len(points)) if on_centers else random.uniform(1, 4, len(points))
    camera = torch.tensor([[1.0, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    vertices = torch.from_numpy(np.concatenate([points * depth[:, None], depth[:, None]], axis=1))
    faces = torch.from_numpy(Delaunay(points).simplices.astype(np.int64))
    faces = torch.where(torch.from_numpy(random.random(len(faces)) < 0.5)[:, None], faces, faces.flip(1))
    hits = hits_of(vertices, faces[:, None], camera, (12, 13))
    assert torch.equal(hits, torch.ones(12, 13, dtype=torch.int32))


def test_the_nearer_object_covers_the_farther_one():
    square = torch.tensor([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    far, near = square * 2 + torch.tensor([0, 0, 6.0]), square / 2 + torch.tensor([0, 0, 3.0])
    for order, (back, front) in (([far, near], (0, 1)), ([near, far], (1, 0))):
        found = rasterize(Meshes(order, [faces] * 2), CAMERA, SIZE).object_map()
        assert int((found == front).sum()) == 20 * 22
        assert int((found == back).sum()) == 40 * 44 - 20 * 22
        assert found[22, 37] == front


@pytest.mark.parametrize("at_once", [1, 30, 10**6])
def test_at_one_depth_the_first_face_is_shown(monkeypatch, at_once):
    monkeypatch.setattr(rasterizer, "_PAIRS_AT_ONCE", at_once)
    square = torch.tensor([[-1.0, -1, 4], [1, -1, 4], [1, 1, 4], [-1, 1, 4]])
    meshes = Meshes([square] * 3, [torch.tensor([[0, 1, 2], [0, 2, 3]])] * 3)
    assert rasterize(meshes, CAMERA, SIZE).object_map().unique().tolist() == [-1, 0]


def test_a_floor_reaches_from_the_near_plane_to_the_horizon():
    """The plane y = 1 from behind the camera to z = 1000: depth is 1 over the ray's slope, cut at `near`."""
    floor = torch.tensor([[-1e5, 1, -50.0], [1e5, 1, -50], [1e5, 1, 1000], [-1e5, 1, 1000]])
    found = rasterize(Meshes([floor], [torch.tensor([[0, 1, 2], [0, 2, 3]])]), CAMERA, SIZE, near=3.0)
    slopes = torch.from_numpy(rays_of(CAMERA, SIZE)[:, 1].reshape(SIZE))
    expected = torch.where((slopes > 1 / 1000) & (slopes <= 1 / 3), 1 / slopes, math.inf)
    torch.testing.assert_close(found.depth_map(), expected.float(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("at_once", [1, 7, 100])
def test_parts_of_any_size_give_the_same(monkeypatch, at_once):
    meshes = triangles_of(np.random.default_rng(5), 30, 1, 4)
    whole = rasterize(meshes, CAMERA, SIZE)
    monkeypatch.setattr(rasterizer, "_PAIRS_AT_ONCE", at_once)
    assert_same(rasterize(meshes, CAMERA, SIZE), whole)


def test_a_camera_with_skew():
    meshes = triangles_of(np.random.default_rng(6), 30, 2, 6)
    camera = CAMERA.clone()
    camera[0, 1] = 7.0
    face, depth, _ = nearest_hits(meshes, camera, SIZE, 1e-3)
    found = rasterize(meshes, camera, SIZE)
    assert torch.equal(found.face_map(), torch.from_numpy(face))
    torch.testing.assert_close(found.depth_map(), torch.from_numpy(depth).float())


def test_nothing_to_see():
    triangle = torch.tensor([[0.0, 0, 3], [1, 0, 3], [0, 1, 3]])
    no_faces = torch.zeros(0, 3, dtype=torch.int64)
    behind, beside = triangle * torch.tensor([1, 1, -1.0]), triangle + torch.tensor([50.0, 0, 0])
    thin, point, flat = triangle * torch.tensor([1, 0, 1.0]), triangle * 0 + 3, triangle * torch.tensor([1, 1, 0.0])
    edge_on = torch.tensor([[0.0, 0, 1], [0, 0, 5], [1, 0, 3]])
    for vertices in (behind, beside, thin, point, flat, edge_on):
        found = rasterize(Meshes([vertices], [torch.tensor([[0, 1, 2]])]), CAMERA, SIZE)
        assert len(found.pixels) == 0
        assert found.depth_map().isinf().all()
        assert (found.object_map() == -1).all()
    for meshes in (Meshes([], []), Meshes([triangle], [no_faces])):
        assert len(rasterize(meshes, CAMERA, SIZE).pixels) == 0
    some = rasterize(Meshes([triangle, triangle], [no_faces, torch.tensor([[0, 1, 2]])]), CAMERA, SIZE)
    assert some.object_map().unique().tolist() == [-1, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"camera": torch.eye(4)}, r"shape \(4, 4\)"),
        ({"camera": torch.zeros(3, 3)}, "no intrinsic matrix"),
        ({"camera": torch.tensor([[1.0, 0, 0], [1, 0, 0], [0, 0, 1]])}, "no intrinsic matrix"),
        ({"camera": torch.full((3, 3), math.nan)}, "no intrinsic matrix"),
        ({"camera": torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, -1]])}, "no intrinsic matrix"),
        ({"size": (0, 4)}, r"size \(0, 4\)"),
        ({"near": 0.0}, "near is 0.0"),
        ({"near": math.nan}, "near is nan"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(InputError, match=message):
        rasterize(**{"meshes": icosphere(0), "camera": CAMERA, "size": SIZE, **arguments})


def assert_same(found: Fragments, expected: Fragments) -> None:
    for name in ("pixels", "faces", "objects", "depth", "barycentrics"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
