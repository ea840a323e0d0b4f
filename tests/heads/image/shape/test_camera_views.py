"""The camera's view of vertices, against the authors' projection written out in their frame, in float64."""

import secrets

import pytest
import torch
from torch.nn import functional as F

from detkit.errors import InputError
from detkit.geometry import Placement
from detkit.heads import Context
from detkit.heads.image.shape.camera_views import CameraViews, given_cameras
from detkit.ops.meshes import to_box_frustum, vert_align
from detkit.preprocess import Batch
from detkit.structures import Meshes, Target
from detkit.structures.meshes import icosphere

SEEDS = [0, 1, pytest.param(secrets.randbits(32), id="fresh")]
FOCAL, DEPTHS = 2.1875, (0.2002002 / (1.002002 - 0.67), 0.2002002 / (1.002002 - 0.92))
TURN = torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64)  # from the authors' frame to ours, and back
BLENDER = torch.tensor([[FOCAL, 0, 0, 0], [0, FOCAL, 0, 0], [0, 0, -1.002002, -0.2002002], [0, 0, -1, 0]]).double()


def projected(vertices):
    """The authors' normalized device coordinates (x right, y up) of vertices in their frame."""
    homogeneous = torch.cat([vertices, torch.ones_like(vertices[:, :1])], dim=1) @ BLENDER.T
    w = homogeneous[:, 3:]
    return homogeneous[:, :3] / (torch.where(w < 0, -1.0, 1.0) * w.abs().clamp(min=0.1))


def views_of(sizes=((137, 137),), padded=None, depths=DEPTHS):
    height, width = padded or sizes[0]
    placements = [Placement.resize(size, size) for size in sizes]
    return CameraViews.of(Context(Batch(torch.zeros(len(sizes), 3, height, width), placements)), FOCAL, depths)


def packed(vertices):
    return Meshes([vertices], [torch.zeros(0, 3, dtype=torch.int64)])


@pytest.mark.parametrize("seed", SEEDS)
def test_positions_are_those_of_blenders_camera_with_y_down(seed):
    """Before the camera, behind it, and nearer than its first clipping plane."""
    vertices = torch.randn(500, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    vertices[:100, 2] *= 0.1
    expected = projected(vertices * TURN) * torch.tensor([1.0, -1.0, 1.0])
    given = views_of().positions(packed(vertices.float()))
    torch.testing.assert_close(given.double(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("seed", SEEDS)
def test_voxels_lie_where_the_authors_put_them(seed):
    """`voxel_to_world` of the authors: y up, z stretched to 0.67 to 0.92, then the projection undone."""
    cells = torch.rand(300, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1
    x, y, z = cells.unbind(1)
    depth = 0.67 + (z + 1) / 2 * 0.25
    distance = -0.2002002 / (-depth + 1.002002)
    expected = torch.stack([-x * distance / FOCAL, y * distance / FOCAL, distance], dim=1) * TURN
    given = views_of().to_camera(packed(cells.float())).vertices
    torch.testing.assert_close(given.double(), expected, rtol=1e-5, atol=1e-5)
    assert given[:, 2].min() > 0.6
    back = to_box_frustum(given, torch.tensor([len(given)]), *views_of().frustums([0]))
    torch.testing.assert_close(back.double(), cells, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("seed", SEEDS)
def test_maps_go_to_zero_beyond_the_image(seed):
    """As `grid_sample` with zeros as padding, gradients included."""
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(1, 5, 6, 9, generator=generator, dtype=torch.float64, requires_grad=True)
    positions = torch.rand(200, 3, generator=generator, dtype=torch.float64) * 3 - 1.5
    positions.requires_grad_()
    views, owner = views_of(), torch.zeros(200, dtype=torch.int64)
    locations, shares = views.on_map(positions, owner, (6, 9))
    given = vert_align(maps, locations, owner) * shares
    grid = positions[None, None, :, :2]
    expected = F.grid_sample(maps, grid, align_corners=True)[0, :, 0].T
    torch.testing.assert_close(given, expected)
    weights = torch.randn(200, 5, generator=generator, dtype=torch.float64)
    for one, other in zip(
        torch.autograd.grad((given * weights).sum(), (maps, positions)),
        torch.autograd.grad((expected * weights).sum(), (maps, positions)),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_a_padded_image_has_the_part_of_the_map_that_shows_it():
    """A map of two cells for each image of half the batch's width is read in its left half alone."""
    views = views_of(sizes=((32, 32), (32, 64)), padded=(32, 64))
    maps = torch.arange(4.0).expand(2, 1, 2, 4)
    corners = torch.tensor([[-1.0, 0, 0], [1, 0, 0]] * 2)
    owner = torch.tensor([0, 0, 1, 1])
    locations, shares = views.on_map(corners, owner, (2, 4))
    assert (vert_align(maps, locations, owner) * shares).flatten().tolist() == [0, 1, 0, 3]


def test_cameras_are_those_of_the_targets_in_their_frame():
    own = torch.tensor([[50.0, 0, 20], [0, 60, 10], [0, 0, 1]])
    placements = [Placement.resize((20, 40), (40, 40)), Placement.resize((30, 30), (40, 40))]
    batch = Batch(torch.zeros(2, 3, 40, 40), placements)
    targets = [Target(camera=own).moved_to_network(placements[0]), Target()]
    views = CameraViews.of(Context(batch, targets), 2.0, (1.0, 3.0))
    assert views.cameras[0].tolist() == [[50, 0, 20], [0, 120, 20], [0, 0, 1]]
    assert views.cameras[1].tolist() == [[40, 0, 20], [0, 40, 20], [0, 0, 1]]
    back = given_cameras(views, batch)
    torch.testing.assert_close(back[0], own)
    assert back[1].tolist() == [[30, 0, 15], [0, 30, 15], [0, 0, 1]]


def test_given_cameras_go_before_those_of_targets():
    first, second = (torch.diag(torch.tensor([focal, focal, 1.0])) for focal in (10.0, 20.0))
    batch = Batch(torch.zeros(2, 3, 40, 40), [Placement.resize((40, 40), (40, 40))] * 2)
    context = Context(batch, [Target(camera=second)] * 2, [Target(camera=first), Target()])
    views = CameraViews.of(context, 1.5, (1.0, 3.0))
    assert views.cameras.tolist() == [first.tolist(), [[30, 0, 20], [0, 30, 20], [0, 0, 1]]]
    assert CameraViews.of(Context(batch, context.targets), None, (1.0, 3.0)).cameras[:, 0, 0].tolist() == [20, 20]


@pytest.mark.parametrize(
    "fields", [{"given": [Target(camera=torch.eye(3)), Target()]}, {"targets": [Target()] * 2}, {}]
)
def test_an_image_without_its_camera_is_refused_where_no_focal_length_is_known(fields):
    batch = Batch(torch.zeros(2, 3, 40, 40), [Placement.resize((40, 40), (40, 40))] * 2)
    with pytest.raises(InputError, match=f"image {int('given' in fields)} has no camera"):
        CameraViews.of(Context(batch, **fields), None, (1.0, 3.0))


def test_a_sphere_is_seen_as_its_outline():
    """Its vertices fill the square around the outline of a ball of radius r at distance d: f r / sqrt(d^2 - r^2)."""
    sphere = icosphere(4)
    ball = sphere.with_vertices(sphere.vertices * 0.4 + torch.tensor([0.0, 0.0, 1.5]))
    seen = views_of().positions(ball)[:, :2]
    outline = FOCAL * 0.4 / (1.5**2 - 0.4**2) ** 0.5
    assert seen.norm(dim=1).max() == pytest.approx(outline, rel=2e-3)
