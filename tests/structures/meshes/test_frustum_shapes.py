"""`true_frustum_voxels` of meshes and of points, against the equation of a ball."""

import torch

from detkit.structures import Meshes, PointClouds
from detkit.structures.meshes import icosphere, true_frustum_voxels

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
