"""Meshes, points and voxels as fields of targets and detections: they are seen where their image shows them."""

from __future__ import annotations

import secrets
from dataclasses import replace

import numpy as np
import pytest
import torch

from detkit.data.samples.collation import _pack, _unpack
from detkit.data.transforms.mixing import join_targets
from detkit.errors import InputError
from detkit.geometry import Placement
from detkit.structures import Detections, Meshes, PointClouds, Target
from detkit.structures.kind import Warp, Warped
from detkit.structures.meshes import icosphere

SIZE = (48, 64)
SEEDS = [0, 1, pytest.param(secrets.randbits(32), id="fresh")]


def _turned(degrees: float, scale: float = 1.3) -> Placement:
    angle = np.deg2rad(degrees)
    rows = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return Placement(tuple((*row, 5.0) for row in rows.tolist()), (90, 90), SIZE)


PLACEMENTS = {
    "identity": Placement.identity(SIZE),
    "resize": Placement.resize(SIZE, (96, 100)),
    "part": Placement.part(SIZE, (5, 3, 25, 18), (2, 7, 42, 37), (45, 50)),
    "mirror": Placement.mirror(SIZE, True, False),
    "vertical mirror": Placement.mirror(SIZE, False, True),
    "both mirrors": Placement.mirror(SIZE, True, True),
    "mirrored part": Placement.part(SIZE, (5, 3, 25, 18), (2, 7, 42, 37), (45, 50)).then(
        Placement.mirror((45, 50), True, False)
    ),
    "transposed": Placement(((0.0, 1.0, 0.0), (1.0, 0.0, 0.0)), (64, 48), SIZE),
    "turned": _turned(25),
    "sheared": Placement(((1.1, 0.3, -4.0), (-0.2, 0.9, 6.0)), (60, 70), SIZE),
}
EACH = pytest.mark.parametrize("name", PLACEMENTS)


def _target(seed: int = 0) -> Target:
    random = np.random.default_rng(seed)
    vertices, faces = icosphere(1).vertices, icosphere(1).faces
    meshes = [vertices + torch.from_numpy(random.uniform((-1, -1, 3), (1, 1, 6))).float() for _ in range(3)]
    focal, middle = random.uniform(40, 70), random.uniform(-5, 5, 2)
    camera = [[focal, 0, 32 + middle[0]], [0, focal, 24 + middle[1]], [0, 0, 1]]
    return Target(
        torch.tensor([[1.0, 2, 30, 40]] * 3),
        torch.arange(3),
        camera=torch.tensor(camera, dtype=torch.float32),
        meshes=Meshes(meshes, [faces] * 3),
        voxels=PointClouds([points[:count] for points, count in zip(meshes, (0, 3, 5), strict=True)]),
    )


def _project(points: torch.Tensor, camera: torch.Tensor) -> torch.Tensor:
    seen = points.double() @ camera.double().T
    return seen[:, :2] / seen[:, 2:]


def _volumes(meshes: Meshes) -> np.ndarray:
    """Signed: positive where faces are counterclockwise from outside."""
    corners = [v[f].double() for v, f in zip(meshes.vertices_list(), meshes.faces_list(), strict=True)]
    return np.array([float(torch.linalg.det(own).sum()) / 6 for own in corners])


@EACH
@pytest.mark.parametrize("seed", SEEDS)
def test_moved_points_are_seen_where_their_pixels_move(name: str, seed: int):
    target, placement = _target(seed), PLACEMENTS[name]
    moved = target.moved(placement)
    for before, after in (
        (target.meshes.vertices, moved.meshes.vertices), (target.voxels.points, moved.voxels.points),
    ):  # fmt: skip
        expected = placement.points(_project(before, target.camera))
        assert torch.allclose(_project(after, moved.camera), expected, atol=1e-3)
        assert torch.equal(after[:, 2], before[:, 2])  # distances stay
        assert torch.allclose(after.norm(dim=1), before.norm(dim=1), atol=1e-5)


@EACH
def test_the_outside_of_a_mesh_stays_outside(name: str):
    target = _target()
    moved = target.moved(PLACEMENTS[name]).meshes
    assert (_volumes(target.meshes) > 3).all()
    assert np.allclose(_volumes(moved), _volumes(target.meshes), atol=1e-4)
    assert moved.is_closed().all()


def test_a_flip_is_exact_and_its_inverse_too():
    target, mirror = _target(), PLACEMENTS["mirror"]
    moved = target.moved(mirror)
    assert torch.equal(moved.meshes.vertices * torch.tensor([-1.0, 1, 1]), target.meshes.vertices)
    assert torch.equal(moved.meshes.faces, target.meshes.faces.flip(1))
    assert moved.camera[0, 0] == target.camera[0, 0]
    back = moved.moved(mirror.inverse())
    assert torch.equal(back.meshes.vertices, target.meshes.vertices)
    assert torch.equal(back.meshes.faces, target.meshes.faces)


def test_a_resize_keeps_meshes_as_they_are():
    target = _target()
    assert target.moved(PLACEMENTS["part"]).meshes is target.meshes


@EACH
def test_a_crop_and_a_warp_move_as_a_placement_does(name: str):
    target, placement = _target(), PLACEMENTS[name]
    shares = torch.ones(3, dtype=torch.float64)
    before = np.array([[0.0, 0], [40, 0], [0, 30], [50, 40]])
    warp = Warp(before, placement.points(before), SIZE, placement.size, (), shares, 1)
    for field in ("meshes", "voxels"):
        kind, value = Target.kinds()[field], getattr(target, field)
        expected = getattr(target.moved(placement), field)
        warped = kind.from_warp(value, Warped(), warp)
        for other in (kind.crop(value, placement, (), shares), warped):
            points = other.vertices if field == "meshes" else other.points
            assert torch.allclose(points, expected.vertices if field == "meshes" else expected.points, atol=1e-5)
        assert kind.cover(value, torch.ones(SIZE, dtype=torch.bool), shares) is value


def test_a_bent_image_is_refused():
    before = np.array([[0.0, 0], [40, 0], [0, 30], [50, 40]])
    bent = before + 0.01 * before[:, :1] * before[:, 1:]
    warp = Warp(before, bent, SIZE, SIZE, (), torch.ones(3), "street.jpg")
    with pytest.raises(InputError, match="not affine"):
        Target.kinds()["meshes"].from_warp(_target().meshes, Warped(), warp)


@pytest.mark.parametrize("index", [slice(1, 3), torch.tensor([2, 0]), torch.tensor([True, False, True])], ids=str)
def test_objects_are_selected_with_their_meshes(index):
    target = _target()
    chosen = target[index]
    numbers = torch.arange(3)[index]
    assert torch.equal(chosen.meshes.vertices, target.meshes[numbers].vertices)
    assert torch.equal(chosen.voxels.points, target.voxels[numbers].points)
    assert len(chosen) == len(numbers)


def test_crowds_take_their_meshes_along():
    target = replace(_target(), iscrowd=torch.tensor([False, True, False]))
    assert torch.equal(target.objects().meshes.vertices, target.meshes[[0, 2]].vertices)


def test_a_worker_sends_them_as_arrays():
    target = _target()
    target_class, values = _pack(target)
    assert all(isinstance(array, np.ndarray) for name in ("meshes", "voxels") for array in values[name])
    received = _unpack((target_class, values))
    assert torch.equal(received.meshes.vertices, target.meshes.vertices)
    assert torch.equal(received.meshes.faces, target.meshes.faces)
    assert received.voxels.counts.tolist() == [0, 3, 5]


@pytest.mark.parametrize("way", ["beside", "through", "pasted"])
def test_a_mixed_image_has_none(way: str):
    """Its parts were seen by cameras of their own."""
    joined = join_targets([_target(0), _target(1)], way)
    assert joined.meshes is None
    assert joined.voxels is None
    assert len(joined) == 6


def test_a_target_may_have_meshes_alone():
    meshes = _target().meshes
    assert len(Target(meshes=meshes)) == 3
    assert len(Target(meshes=meshes)[:2].meshes) == 2


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"meshes": torch.zeros(2, 3)}, TypeError, r"Target\.meshes must be Meshes, got Tensor"),
        ({"meshes": icosphere()}, ValueError, r"Target\.meshes must be of 2 objects for 2 boxes, got 1"),
        ({"meshes": Meshes.cat([icosphere()] * 2).to(dtype=torch.float64)}, TypeError, "float32, got torch.float64"),
        ({"voxels": Meshes([], [])}, TypeError, r"Target\.voxels must be PointClouds, got Meshes"),
        ({"voxels": PointClouds([])}, ValueError, r"Target\.voxels must be of 2 objects"),
    ],
)
def test_what_does_not_fit_is_named(fields, error, message):
    with pytest.raises(error, match=message):
        Target(torch.tensor([[0.0, 0, 1, 1]] * 2), torch.zeros(2, dtype=torch.int64), **fields)


class TestDetections:
    def _detections(self) -> Detections:
        voxels = torch.rand(3, 2, 4, 5, generator=torch.Generator().manual_seed(0))
        target = _target()
        return Detections(
            target.boxes, torch.tensor([0.9, 0.8, 0.7]), target.labels, voxels=voxels, meshes=target.meshes
        )

    def test_an_object_has_its_own(self):
        detections = self._detections()
        assert torch.equal(detections[1].voxels, detections.voxels[1])
        assert torch.equal(detections[1].mesh.vertices, detections.meshes[1].vertices)
        assert Detections.empty()[:0].meshes is None
        without = replace(detections, voxels=None, meshes=None)
        assert without[0].mesh is None
        assert without[0].voxels is None

    @pytest.mark.parametrize(("name", "axes"), [("mirror", [3]), ("vertical mirror", [2]), ("both mirrors", [2, 3])])
    def test_voxels_are_mirrored_with_their_box(self, name, axes):
        detections = self._detections()
        assert torch.equal(detections.moved(PLACEMENTS[name]).voxels, detections.voxels.flip(axes))
        assert detections.moved(PLACEMENTS["part"]).voxels is detections.voxels

    @pytest.mark.parametrize("name", ["turned", "transposed"])
    def test_voxels_cannot_turn(self, name):
        with pytest.raises(InputError, match="cannot follow a placement that turns"):
            self._detections().moved(PLACEMENTS[name])

    def test_voxels_must_have_depth(self):
        detections = self._detections()
        with pytest.raises(ValueError, match=r"Detections\.voxels must have shape \(3, D, H, W\)"):
            replace(detections, voxels=torch.zeros(3, 4, 4))
