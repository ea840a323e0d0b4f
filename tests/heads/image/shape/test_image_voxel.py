"""The voxels of an image's object: the true ones, their surfaces, and their loss."""

import math
import secrets
from functools import partial

import pytest
import torch
from torch.nn import functional as F

from detkit.errors import InputError
from detkit.geometry import Placement
from detkit.heads import Context, ImageVoxelHead
from detkit.heads.image.shape.camera_views import CameraViews
from detkit.preprocess import Batch
from detkit.structures import Meshes, PointClouds, Target
from detkit.structures.meshes import icosphere

HEAD = partial(ImageVoxelHead, 4, voxels=16, channels=8, convolutions=1)
SIZE, FOCAL, DEPTHS = (64, 64), 2.0, (1.0, 2.0)
SEEDS = [0, pytest.param(secrets.randbits(32), id="fresh")]


def ball(center=(0.1, -0.05, 1.4), radius=0.3):
    sphere = icosphere(3)
    return sphere.with_vertices(sphere.vertices * radius + torch.tensor(center))


def context_of(targets, size=SIZE, sizes=None):
    placements = [Placement.resize(one, one) for one in sizes or [size] * len(targets)]
    return Context(Batch(torch.zeros(len(targets), 3, *size), placements), targets)


def views_of(context):
    return CameraViews.of(context, FOCAL, DEPTHS)


def cell_centers(voxels):
    """The centers of all cells in the camera frame, float64 ``(V, V, V, 3)``, by pinhole arithmetic."""
    middle = 2 * (torch.arange(voxels).double() + 0.5) / (voxels - 1) - 1
    z, y, x = torch.meshgrid(middle, middle, middle, indexing="ij")
    near, far = DEPTHS
    inverse = 1 / near + (z + 1) / 2 * (1 / far - 1 / near)
    return torch.stack([x / FOCAL, y / FOCAL, torch.ones_like(z)], dim=-1) / inverse[..., None]


def true_voxels(head, targets):
    """What the loss compares with: the logits at which it has no gradient are those of the truth."""
    context = context_of(targets)
    logits = torch.zeros(len(targets), 16, 16, 16, requires_grad=True)
    loss = head.losses(logits, context, views_of(context))["voxel"]
    (gradient,) = torch.autograd.grad(loss, logits)
    return gradient < 0, gradient, loss.detach()


def test_a_closed_mesh_fills_the_cells_whose_centers_lie_inside():
    occupied, gradient, loss = true_voxels(HEAD(truth="meshes"), [Target(meshes=ball())])
    center = torch.tensor([0.1, -0.05, 1.4]).double()
    distance = (cell_centers(16) - center).norm(dim=-1)
    certain = (distance - 0.3).abs() > 0.01  # the sphere of triangles is not round
    assert torch.equal(occupied[0][certain], (distance < 0.3)[certain])
    assert occupied.sum() > 50
    assert loss.item() == pytest.approx(math.log(2))
    assert gradient.abs().sum().item() == pytest.approx(0.5)


@pytest.mark.parametrize("seed", SEEDS)
def test_points_fill_the_cells_that_hold_them(seed):
    chosen = torch.rand(16, 16, 16, generator=torch.Generator().manual_seed(seed)) < 0.1
    points = cell_centers(16)[chosen].float()
    occupied, *_ = true_voxels(HEAD(), [Target(voxels=PointClouds([points]))])
    assert torch.equal(occupied[0], chosen)


def test_images_without_a_shape_teach_nothing():
    head, targets = HEAD(truth="meshes"), [Target(), Target(meshes=ball()), Target(meshes=Meshes([], []))]
    occupied, gradient, loss = true_voxels(head, targets)
    assert (gradient[[0, 2]] == 0).all()
    assert torch.equal(occupied[1], true_voxels(head, targets[1:2])[0][0])
    assert loss.item() == pytest.approx(math.log(2))
    _, gradient, loss = true_voxels(head, [Target()])
    assert (loss, gradient.abs().sum()) == (0, 0)


def test_what_cannot_be_learned_is_named():
    for meshes, message in (
        (Meshes.cat([ball()] * 2), r"image id 7 has the meshes of 2 objects, but the model learns images of one"),
        (ball(center=(0.0, 0.0, 9.0)), r"image id 7: no voxel of its object lies in the image at a depth z of 1 to 2"),
    ):
        with pytest.raises(InputError, match=message):
            true_voxels(HEAD(truth="meshes"), [Target(meshes=meshes, image_id=7)])
    bare, opened = (Meshes([ball().vertices], [ball().faces[rows]]) for rows in (slice(0), slice(None, None, 2)))
    for meshes, message in (
        (
            ball(center=(0.0, 0.0, 0.2)),
            r"image id 7: its vertices reach to z = -0.1\d*, which is not in front of",
        ),
        (opened, "image id 7: its faces are no closed surface.*and set voxel_head.init_args.truth: voxels"),
        (bare, "image id 7: its mesh has vertices but no faces"),
    ):
        with pytest.raises(InputError, match=message):
            true_voxels(HEAD(truth="meshes"), [Target(meshes=ball(), image_id=6), Target(meshes=meshes, image_id=7)])
    with pytest.raises(InputError, match="even number of at least 4, got 7"):
        HEAD(voxels=7)


def test_surfaces_of_no_voxels_are_those_of_the_central_half():
    head = HEAD()
    probabilities = torch.zeros(2, 16, 16, 16)
    probabilities[1, 3, 4, 5] = 0.2  # the least that is occupied
    central, single = head.surfaces(probabilities).vertices_list()
    assert central.amin(dim=0).tolist() == pytest.approx([2 * 4 / 15 - 1] * 3)
    assert central.amax(dim=0).tolist() == pytest.approx([2 * 12 / 15 - 1] * 3)
    assert len(central) == 6 * 8**2 + 2
    assert len(single) == 8
    assert single.amin(dim=0).tolist() == pytest.approx([2 * 5 / 15 - 1, 2 * 4 / 15 - 1, 2 * 3 / 15 - 1])


@torch.no_grad()
def test_a_padded_image_is_resized_without_its_padding():
    """The map of the whole batch, cut to the image, is resized as torch resizes it."""
    head, sizes = HEAD(), [(64, 32), (64, 64)]
    maps = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    given = head(maps, context_of([Target()] * 2, sizes=sizes))
    for row, part in enumerate((maps[:1, :, :, :4], maps[1:])):
        # The border of the part is followed by other cells of the map, which its last cells are mixed with.
        inner = head(part, context_of([Target()]))
        torch.testing.assert_close(given[row, :, :, : 12 if row == 0 else 16], inner[0, :, :, : 12 if row == 0 else 16])


@torch.no_grad()
def test_layers_are_those_of_the_paper():
    """4 convolutions, a deconvolution and a prediction, of maps resized to half of the voxels."""
    head = ImageVoxelHead(2048)
    assert (
        sum(one.numel() for one in head.parameters())
        == 2048 * 9 * 256 + 3 * 256 * 9 * 256 + 256 * 4 * 256 + 256 * 48 + 5 * 256 + 48
    )
    maps = torch.randn(1, 2048, 5, 5)
    x = F.interpolate(maps, size=24, mode="bilinear", align_corners=False)
    for layer in head.convolutions:
        x = F.relu(F.conv2d(x, layer.weight, layer.bias, padding=1))
    x = F.relu(F.conv_transpose2d(x, head.deconvolution.weight, head.deconvolution.bias, stride=2))
    expected = F.conv2d(x, head.logits.weight, head.logits.bias)
    assert expected.shape == (1, 48, 48, 48)
    torch.testing.assert_close(head(maps, context_of([Target()])), expected)
