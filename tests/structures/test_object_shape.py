"""`ObjectShape`: its checks, and how it moves with its image."""

import pytest
import torch

from detkit.geometry import Placement
from detkit.structures import Meshes, ObjectShape
from detkit.structures.meshes import icosphere

CAMERA = torch.tensor([[70.0, 0, 30], [0, 70, 20], [0, 0, 1]])


def shape(**fields):
    voxels = torch.arange(8.0).view(1, 2, 2, 2) / 8
    return ObjectShape(
        **({"meshes": icosphere(), "camera": CAMERA, "voxels": voxels, "depth_range": torch.ones(2)} | fields)
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"meshes": Meshes.cat([icosphere()] * 2), "voxels": None}, "ObjectShape.meshes must be of one object, got 2"),
        ({"meshes": Meshes([], []), "voxels": None}, "ObjectShape.meshes must be of one object, got 0"),
        ({"camera": torch.eye(4)}, r"ObjectShape.camera must have shape \(3, 3\), got \(4, 4\)"),
        ({"voxels": torch.zeros(2, 3, 3, 3)}, "ObjectShape.voxels"),
        ({"depth_range": torch.ones(3)}, r"ObjectShape.depth_range must have shape \(2,\), got \(3,\)"),
        ({"meshes": None}, "ObjectShape.meshes"),
    ],
)
def test_wrong_fields_are_named(fields, message):
    with pytest.raises((TypeError, ValueError), match=message):
        shape(**fields)


def test_it_moves_with_its_image():
    """A resize moves the camera alone; a mirror also the mesh, the order of its faces, and the columns of voxels."""
    given = shape()
    large = given.moved(Placement.resize((40, 60), (80, 120)))
    assert large.camera.tolist() == [[140, 0, 60], [0, 140, 40], [0, 0, 1]]
    assert torch.equal(large.meshes.vertices, given.meshes.vertices)
    mirrored = given.moved(Placement(((-1.0, 0.0, 60.0), (0.0, 1.0, 0.0)), (40, 60), (40, 60)))
    assert torch.equal(mirrored.meshes.vertices, given.meshes.vertices * torch.tensor([-1.0, 1, 1]))
    assert torch.equal(mirrored.meshes.faces, given.meshes.faces.flip(1))
    assert torch.equal(mirrored.voxels, given.voxels.flip(3))
    assert mirrored.camera.tolist() == CAMERA.tolist()
    assert mirrored.depth_range is not None


def test_it_is_told_by_its_size_and_has_no_class():
    given = shape()
    assert repr(given) == "a mesh of 12 vertices and 20 faces"
    assert (given.predicted_labels(), given.known_categories(), len(given)) == ([], [], 1)
    assert given.to_numpy().keys() == {"camera", "voxels", "depth_range"}
    (moved,) = ObjectShape.batch_to([given], "cpu")
    assert torch.equal(moved.meshes.vertices, given.meshes.vertices)
