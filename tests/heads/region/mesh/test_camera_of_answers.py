"""The camera of detections with meshes: the one that was given, which sees each mesh in its box."""

import pytest
import torch
from every_model import MODELS

from detkit.backbones import TorchvisionBackbone
from detkit.geometry import Placement
from detkit.structures import Target
from detkit.visualization import Drawing

CAMERAS = [
    torch.tensor([[60.0, 0, 30], [0, 60, 20], [0, 0, 1]]),
    torch.tensor([[50.0, 0, 22], [0, 55, 27], [0, 0, 1]]),
]
IMAGES = [torch.full((3, 40, 60), 0.25), torch.full((3, 50, 40), 0.75)]


@pytest.fixture(scope="module")
def answers():
    torch.manual_seed(0)
    model = MODELS["mesh"](lambda: TorchvisionBackbone("resnet18")).eval()
    with torch.inference_mode():
        return model(IMAGES, given=[Target(camera=camera) for camera in CAMERAS])


def test_is_the_given_one(answers):
    for answer, camera in zip(answers, CAMERAS, strict=True):
        assert len(answer) > 0
        torch.testing.assert_close(answer.camera, camera, atol=1e-4, rtol=1e-5)
        assert answer[:1].camera is not None


def test_sees_each_mesh_in_its_box(answers):
    """The voxels of a network that is not trained are all occupied, so a mesh fills its frustum, and the cubes of 6
    cells between -1 and 1.4 as `cubify` puts them."""
    for answer in answers:
        for one in answer:
            seen = one.mesh.vertices @ answer.camera.T
            low, high = (seen[:, :2] / seen[:, 2:]).aminmax(dim=0)
            size = one.box[2:] - one.box[:2]
            torch.testing.assert_close(low, one.box[:2], atol=0.01, rtol=1e-3)
            torch.testing.assert_close(high, one.box[2:] + 0.2 * size, atol=0.01, rtol=1e-3)


def test_follows_the_size_of_the_image(answers):
    doubled = Drawing().resized(answers[0], (40, 60), (80, 120))
    torch.testing.assert_close(doubled.camera, Placement.resize((40, 60), (80, 120)).camera(answers[0].camera))
    assert doubled.meshes is answers[0].meshes
