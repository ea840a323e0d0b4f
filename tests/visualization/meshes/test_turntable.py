"""Turntables: each object turns about its own center, once, seen at first as the camera sees it."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from detkit.rendering import rasterize
from detkit.structures import Meshes
from detkit.structures.meshes import icosphere
from detkit.visualization.meshes import turntable as module
from detkit.visualization.meshes.turntable import animated_gif, turntable

RED, BLUE = (250, 20, 20), (20, 20, 250)
SIDE = 96


@pytest.fixture
def no_labels(monkeypatch):
    monkeypatch.setattr(module, "draw_labels", lambda image, *_: image)


def covered(image):
    return (image != 255).any(axis=2)


def shares(mask):
    """The columns and rows of the middle of a mask, and its extent, as shares of the image."""
    rows, columns = np.nonzero(mask)
    size = np.array(mask.shape)
    low, high = np.array([rows.min(), columns.min()]), np.array([rows.max() + 1, columns.max() + 1])
    return (low + high) / 2 / size, (high - low) / size


def lump(*, at, size=0.2):
    """A ball with a lump on one side, 5 away to the left."""
    ball = icosphere(2)
    vertices = torch.cat((ball.vertices, ball.vertices * size + 1.3 * torch.tensor(at))) + torch.tensor([-3.0, 0, 4])
    return Meshes([vertices], [torch.cat((ball.faces, ball.faces + len(ball.vertices)))])


def test_a_ball_fills_its_tile_in_every_image(no_labels):
    ball = icosphere(3)
    for scale, center in ((0.01, (0.0, 0, 1)), (50.0, (-200.0, 30, 400))):
        mesh = ball.with_vertices(ball.vertices * scale + torch.tensor(center))
        images = turntable(mesh, [""], [RED], frames=5, side=SIDE)
        assert len(images) == 5
        for image in images:
            middle, extent = shares(covered(image))
            assert middle == pytest.approx([0.5, 0.5], abs=0.02)
            assert extent == pytest.approx([0.92, 0.92], abs=0.04)


def test_the_first_image_is_the_view_of_the_camera(no_labels):
    """Toward an object on the left: what lies along the ray through its center is behind it."""
    hidden = lump(at=(-0.6, 0, 0.8))
    ball = icosphere(2)
    first = turntable(hidden, [""], [RED], frames=4, side=SIDE)[0]
    _, extent = shares(covered(first))
    assert extent[0] == pytest.approx(extent[1], abs=0.03)  # a disc: the lump is behind
    assert covered(first).sum() == pytest.approx(np.pi / 4 * extent.prod() * SIDE**2, rel=0.03)
    assert len(ball.faces) * 2 == len(hidden.faces)


def test_what_was_behind_comes_to_the_right_then_to_the_front(no_labels):
    quarters = turntable(lump(at=(-0.6, 0, 0.8)), [""], [RED], frames=4, side=SIDE)
    right, left = quarters[1], quarters[3]
    assert 0 < covered(right)[:, -12:].any(axis=1).sum() < SIDE / 4  # the lump
    assert 0 < covered(left)[:, :12].any(axis=1).sum() < SIDE / 4
    widest = covered(right).sum(axis=0).argmax()
    assert widest < SIDE / 2  # the ball, left of the lump


@pytest.mark.parametrize("frame", [1, 2, 5])
def test_turns_as_scipy_does(frame, no_labels):
    generator = torch.Generator().manual_seed(frame)
    vertices = torch.rand(30, 3, generator=generator) + torch.tensor([-0.5, -0.5, 4])
    faces = torch.randint(30, (40, 3), generator=generator)
    mesh = Meshes([vertices], [faces])
    image = turntable(mesh, [""], [RED], frames=7, side=SIDE)[frame]
    low, high = vertices.double().aminmax(dim=0)
    center = (low + high) / 2
    ahead = (center / center.norm()).numpy()
    right = np.cross([0, 1, 0], ahead)
    right /= np.linalg.norm(right)
    moved = (vertices.double() - center).numpy() @ np.stack((right, np.cross(ahead, right), ahead)).T
    moved = Rotation.from_rotvec([0, 2 * np.pi * frame / 7, 0]).apply(moved / np.linalg.norm(moved, axis=1).max())
    turned = mesh.with_vertices(torch.from_numpy(moved) + torch.tensor([0, 0, 3.0]))
    focal = 0.92 * SIDE / 2 * 8**0.5
    camera = torch.tensor([[focal, 0, SIDE / 2], [0, focal, SIDE / 2], [0, 0, 1]])
    seen = rasterize(turned, camera, (SIDE, SIDE)).object_map().numpy() >= 0
    assert (seen == covered(image)).mean() > 0.998


@pytest.mark.parametrize(
    ("count", "shape"), [(0, (96, 96)), (1, (96, 96)), (2, (48, 96)), (5, (64, 96)), (100, (90, 90))]
)
def test_each_object_has_a_tile(count, shape, no_labels):
    meshes = icosphere(1)[[0] * count]
    images = turntable(meshes, [""] * count, [BLUE] * count, frames=2, side=SIDE)
    assert [image.shape for image in images] == [(*shape, 3)] * 2
    assert covered(images[0]).any() == (count > 0)


def test_objects_without_faces_or_extent_have_empty_tiles(no_labels):
    point = torch.zeros(1, 3)
    faces = torch.zeros(1, 3, dtype=torch.int64)
    meshes = Meshes([torch.zeros(0, 3), point + torch.tensor([0, 0, 1.0]), point], [faces[:0], faces, faces])
    (image,) = turntable(meshes, ["", "", ""], [RED] * 3, frames=1, side=SIDE)
    assert not covered(image).any()


def test_objects_above_the_camera_are_seen(no_labels):
    ball = icosphere(1)
    (image,) = turntable(
        ball.with_vertices(ball.vertices + torch.tensor([0, -9.0, 0])), [""], [RED], frames=1, side=SIDE
    )
    assert covered(image).any()


def test_objects_have_their_names():
    ball = icosphere(1)
    without, named = (turntable(ball, [name], [RED], frames=1, side=400)[0] for name in ("", "ball 1"))
    differs = (without != named).any(axis=2)
    assert differs.any()
    assert not differs[:, 200:].any()


def test_gif_repeats_forever():
    images = [np.full((8, 10, 3), 40 * number, np.uint8) for number in range(3)]
    with Image.open(io.BytesIO(animated_gif(images, 70))) as animation:
        assert (animation.n_frames, animation.size, animation.info["loop"]) == (3, (10, 8), 0)
        for number, image in enumerate(images):
            animation.seek(number)
            assert animation.info["duration"] == 70
            assert (np.asarray(animation.convert("RGB")) == image).all()
