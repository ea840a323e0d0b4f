"""`true_frustum_voxels` and `true_voxels_between` of meshes and of points, against the equation of a ball."""

import pytest
import torch

from detkit.errors import InputError
from detkit.structures import Meshes, PointClouds
from detkit.structures.meshes import icosphere, true_frustum_voxels, true_voxels_between

SIZE = (10, 12, 14)
CAMERA = torch.tensor([[60.0, 0, 30], [0, 50, 20], [0, 0, 1]])
CENTERS = torch.tensor([[0.2, -0.1, 4.0], [-0.4, 0.3, 6.0]])
RADIUS = 0.8


def _centers_of_cells(box: torch.Tensor, near: float, far: float) -> torch.Tensor:
    """``(D, H, W, 3)`` in the camera frame, of the grid of `cubify`."""
    z, y, x = torch.meshgrid(*((torch.arange(n, dtype=torch.float64) + 0.5) / (n - 1) for n in SIZE), indexing="ij")
    depth = 1 / (1 / near + z * (1 / far - 1 / near))
    u, v = box[0] + x * (box[2] - box[0]), box[1] + y * (box[3] - box[1])
    return torch.stack(((u - 30) / 60 * depth, (v - 20) / 50 * depth, depth), dim=-1)


def test_cells_are_those_inside_the_ball():
    sphere = icosphere(4)
    meshes = Meshes([RADIUS * sphere.vertices + center for center in CENTERS], [sphere.faces] * 2)
    seen = [vertices @ CAMERA.T for vertices in meshes.vertices_list()]
    corners = [(one[:, :2] / one[:, 2:]).aminmax(dim=0) for one in seen]
    boxes = torch.stack([torch.cat([one.min, one.max]) for one in corners])
    cameras = CAMERA.expand(2, 3, 3)
    steps = torch.linspace(-RADIUS, RADIUS, 60)
    lattice = torch.cartesian_prod(steps, steps, steps)
    points = PointClouds([lattice[lattice.norm(dim=1) < RADIUS] + center for center in CENTERS])
    of_meshes, of_points = (true_frustum_voxels(shapes, boxes, cameras, SIZE) for shapes in (meshes, points))
    assert of_meshes.shape == of_points.shape == (2, *SIZE)
    for number, center in enumerate(CENTERS.double()):
        near, far = float(center[2]) - RADIUS, float(center[2]) + RADIUS
        distances = (_centers_of_cells(boxes[number].double(), near, far) - center).norm(dim=-1)
        assert not (of_meshes[number] & (distances > RADIUS)).any()
        assert of_meshes[number][distances < 0.97 * RADIUS].all()  # the polyhedron lies within the ball
        assert of_points[number][distances < 0.9 * RADIUS].all()
        assert of_points[number].sum() < 2 * of_meshes[number].sum()


def test_cells_between_given_depths():
    """One ball lies within the depths, the other reaches beyond their far end."""
    sphere, steps = icosphere(4), torch.linspace(-RADIUS, RADIUS, 80)
    lattice = torch.cartesian_prod(steps, steps, steps)
    points = PointClouds([lattice[lattice.norm(dim=1) < RADIUS] + center for center in CENTERS])
    meshes = Meshes([RADIUS * sphere.vertices + center for center in CENTERS], [sphere.faces] * 2)
    boxes, ranges = torch.tensor([[15.0, 0, 55, 40], [10, 5, 45, 40]]), torch.tensor([[2.5, 5.5], [5.0, 6.2]])
    seen = boxes, CAMERA.expand(2, 3, 3), ranges
    of_meshes, of_points = (true_voxels_between(shapes, *seen, SIZE) for shapes in (meshes, points))
    for number, center in enumerate(CENTERS.double()):
        cells = _centers_of_cells(boxes[number].double(), *ranges[number].tolist())
        distances = (cells - center).norm(dim=-1)
        assert (distances < 0.97 * RADIUS).sum() > 20
        assert not (of_meshes[number] & (distances > RADIUS)).any()
        assert of_meshes[number][distances < 0.97 * RADIUS].all()
        assert of_points[number][distances < 0.8 * RADIUS].all()
        assert of_points[number].sum() < 2.5 * of_meshes[number].sum()


def test_a_mesh_behind_the_camera_is_named():
    sphere = icosphere(1)
    meshes = Meshes([sphere.vertices + torch.tensor([0.0, 0, z]) for z in (3.0, 0.25)], [sphere.faces] * 2)
    boxes, cameras = torch.tensor([[0.0, 0, 60, 40]] * 2), CAMERA.expand(2, 3, 3)
    with pytest.raises(InputError, match=r"^mesh 1: its vertices reach to z = -0\.[67]\d*, which is not in front of"):
        true_voxels_between(meshes, boxes, cameras, torch.tensor([[1.0, 4.0]] * 2), SIZE)
    opened = Meshes([sphere.vertices + torch.tensor([0.0, 0, 3])] * 2, [sphere.faces, sphere.faces[1:]])
    with pytest.raises(InputError, match=r"^mesh 1: its faces are no closed surface"):
        true_voxels_between(opened, boxes, cameras, torch.tensor([[1.0, 4.0]] * 2), SIZE)
