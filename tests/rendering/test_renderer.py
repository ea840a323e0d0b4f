"""Rendered colors against Lambert's and Blinn's equations."""

import math

import numpy as np
import pytest
import torch

from detkit.data.shapes3d.solids import extruded
from detkit.errors import InputError
from detkit.rendering import Light, Lighting, Material, render
from detkit.structures import Meshes
from detkit.structures.meshes import icosphere

CAMERA = torch.tensor([[100.0, 0, 20.0], [0, 100, 16], [0, 0, 1]])
SIZE = (32, 40)
PLATE = Meshes(
    [torch.tensor([[-1.0, -1, 4], [1, -1, 4], [1, 1, 4], [-1, 1, 4]])], [torch.tensor([[0, 2, 1], [0, 3, 2]])]
)
DARK = (0.0, 0.0, 0.0)


def rendered(meshes: Meshes, material: Material, ambient, *lights: Light) -> torch.Tensor:
    return render(meshes, CAMERA, SIZE, [material], Lighting(ambient, lights)).image


def unit(*vector: float) -> np.ndarray:
    return np.array(vector) / np.linalg.norm(vector)


@pytest.mark.parametrize("direction", [(0.0, 0.0, -1.0), (1.0, 0.0, -1.0), (0.3, -2.0, -1.0), (0.0, 0.0, 1.0)])
def test_a_plate_is_lit_by_the_cosine_of_the_light(direction):
    image = rendered(PLATE, Material((0.5, 0.8, 0.2)), (0.1, 0.2, 0.3), Light(direction, (0.6, 0.5, 0.4)))
    cosine = max(-unit(*direction)[2], 0)
    expected = [0.5 * (0.1 + 0.6 * cosine), 0.8 * (0.2 + 0.5 * cosine), 0.2 * (0.3 + 0.4 * cosine)]
    assert image.flatten(1).unique(dim=1).T.tolist() == [np.rint(np.array(expected) * 255).tolist()]


def test_lights_add_up():
    material, one, other = Material((1.0, 1.0, 1.0)), Light((0, 0, -1), (0.2, 0, 0)), Light((1, 0, -1), (0.2, 0, 0.4))
    image = rendered(PLATE, material, (0.1, 0.1, 0.1), one, other)[:, 5, 5].tolist()
    cosine = math.sqrt(0.5)
    assert image == [round(255 * (0.1 + 0.2 + 0.2 * cosine)), round(25.5), round(255 * (0.1 + 0.4 * cosine))]


def test_both_sides_of_a_face_are_lit_alike():
    turned = Meshes(PLATE.vertices_list(), [PLATE.faces.flip(1)])
    light = Light((0.3, 0.1, -1.0))
    for material in (Material(), Material(specular=0.5)):
        assert torch.equal(rendered(PLATE, material, DARK, light), rendered(turned, material, DARK, light))


def test_a_smooth_sphere_has_the_normals_of_a_sphere():
    sphere = icosphere(4)
    meshes = sphere.with_vertices(sphere.vertices + torch.tensor([0.3, -0.2, 8.0]))
    light, color = unit(0.5, -0.6, -0.7), (0.9, 0.6, 0.3)
    result = render(meshes, CAMERA, SIZE, [Material(color)], Lighting(DARK, [Light(tuple(light))]))
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    points = np.stack([(x - 20) / 100, (y - 16) / 100, np.ones(SIZE)]) * result.depth.double().numpy()
    shown = np.isfinite(result.depth.numpy())
    assert shown.sum() > 400
    normals = points[:, shown] - np.array([[0.3], [-0.2], [8.0]])
    expected = np.array(color)[:, None] * 0.7 * np.maximum(light @ normals, 0) * 255
    assert np.abs(result.image.numpy()[:, shown] - expected).max() < 3


def test_faces_are_flat_at_sharp_edges():
    """A cube whose faces meet at 90 degrees shows one color for each."""
    vertices, faces = (torch.from_numpy(part) for part in extruded(np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])))
    turn = torch.linalg.qr(torch.tensor([[0.8, 0.4, 0.3], [-0.5, 0.9, 0.2], [-0.2, -0.3, 0.9]]).double())[0]
    meshes = Meshes([vertices @ turn + torch.tensor([0.0, 0, 12])], [faces])
    image = rendered(meshes, Material(), (0.1, 0.1, 0.1), Light((0.5, -0.8, -0.4)))
    colors, counts = image.flatten(1).unique(dim=1, return_counts=True)
    assert colors.shape[1] == 4  # three sides and the background
    assert counts.min() > 20


def test_highlights_follow_blinn():
    light = unit(0.1, 0.05, -1.0)
    material = Material(DARK, specular=0.8, shininess=200.0)
    image = rendered(PLATE, material, DARK, Light(tuple(light), (1.0, 1.0, 1.0)))
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    view = -np.stack([(x - 20) / 100, (y - 16) / 100, np.ones(SIZE)])
    half = view / np.linalg.norm(view, axis=0) + light[:, None, None]
    expected = 0.8 * (-half[2] / np.linalg.norm(half, axis=0)) ** 200 * 255
    assert expected.max() > 200
    assert expected.min() < 50
    np.testing.assert_allclose(image.numpy(), np.broadcast_to(expected, (3, *SIZE)), atol=0.51)
    dull = Material(DARK, specular=0.8, shininess=1.0)
    behind = rendered(PLATE, dull, DARK, Light((1.0, 0.0, 0.1), (1.0, 1.0, 1.0)))
    assert behind.max() == 0


def test_texture_varies_about_the_color_and_depends_on_its_seed():
    def image(seed: int, noise: float = 0.5) -> torch.Tensor:
        return rendered(PLATE, Material((0.4, 0.4, 0.4), noise=noise, noise_seed=seed), (1.0, 1.0, 1.0)).double()

    one = image(0)
    assert torch.equal(one, image(0))
    assert not torch.equal(one, image(1))
    assert 85 < one.mean() < 119
    assert 10 < one.std() < 51
    assert one.min() >= 51
    assert one.max() <= 153
    assert (one[:, :, 1:] - one[:, :, :-1]).abs().mean() < one.std()  # grains are larger than pixels
    assert (image(0, noise=0.0) == 102).all()


def test_objects_have_their_own_materials_and_masks():
    sphere = icosphere(2)
    meshes = Meshes.cat(
        [sphere.with_vertices(sphere.vertices + torch.tensor(at)) for at in ([-1.5, 0, 12.0], [0, 0, 14])]
    )
    light = Lighting((1.0, 1.0, 1.0), ())
    background = torch.randint(0, 255, (3, *SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    before = background.clone()
    result = render(meshes, CAMERA, SIZE, [Material((1, 0, 0)), Material((0, 0, 1), noise=0.5)], light, background)
    masks = result.masks(2)
    assert masks.sum(dim=(1, 2)).min() > 50
    assert not masks.all(dim=0).any()
    assert (result.image[:, masks[0]] == torch.tensor([[255], [0], [0]])).all()
    assert (result.image[:2, masks[1]] == 0).all()
    assert len(result.image[2, masks[1]].unique()) > 10
    rest = ~masks.any(dim=0)
    assert torch.equal(result.image[:, rest], background[:, rest])
    assert torch.equal(background, before)


def test_a_background_of_one_color():
    empty = render(Meshes([], []), CAMERA, SIZE, background=(1.0, 0.0, 0.2))
    assert empty.image.flatten(1).unique(dim=1).T.tolist() == [[255, 0, 51]]
    assert empty.masks(0).shape == (0, *SIZE)
    assert empty.depth.isinf().all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"materials": [Material(), Material()]}, "2 materials for 1 meshes"),
        ({"background": torch.zeros(3, 4, 4, dtype=torch.uint8)}, r"background is torch.uint8 \(3, 4, 4\)"),
        ({"background": torch.zeros(3, *SIZE)}, "background is torch.float32"),
        ({"background": (255, 0, 0)}, "background .* in 0 to 1"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(InputError, match=message):
        render(**{"meshes": PLATE, "camera": CAMERA, "size": SIZE, **arguments})


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (Material, {"color": (255, 0, 0)}, "color"),
        (Material, {"noise": -1.0}, "noise is -1.0"),
        (Material, {"specular": math.nan}, "specular is nan"),
        (Material, {"shininess": 0.0}, "shininess is 0.0"),
        (Material, {"noise_size": 0.0}, "noise_size is 0.0"),
        (Light, {"direction": (0.0, 0.0, 0.0)}, "direction"),
    ],
)
def test_wrong_materials_and_lights(kind, arguments, message):
    with pytest.raises(InputError, match=message):
        kind(**arguments)
