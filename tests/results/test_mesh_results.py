"""Files of shapes: what both tasks with meshes write, and what results say."""

import io
import re

import pytest
import torch
from PIL import Image

from detkit.errors import InputError
from detkit.geometry import Placement
from detkit.mesh_files import read_gltf_objects, read_obj
from detkit.results.mesh_results import SHAPE_FILES, shape_file
from detkit.structures import Category, Detections, Meshes, ObjectShape
from detkit.structures.meshes import icosphere
from detkit.tasks import MeshDetection, Reconstruction

CAMERA = torch.tensor([[40.0, 0, 32], [0, 40, 24], [0, 0, 1]])
BALL = icosphere(1)
MESHES = Meshes([BALL.vertices * 0.2 + torch.tensor([0.1, 0.3, 1]), torch.zeros(0, 3)], [BALL.faces, BALL.faces[:0]])
BOXES, SCORES, LABELS = torch.tensor([[0.0, 0, 9, 9]] * 2), torch.tensor([0.9, 0.8]), torch.tensor([1, 0])
CATEGORIES = [Category(4, "cup"), Category(7, "ball")]


def test_detections_without_shapes_are_refused_in_one_sentence():
    plain = Detections(BOXES, SCORES, LABELS)
    for ending in SHAPE_FILES:
        with pytest.raises(InputError, match=rf"{re.escape(ending)}: these detections have no .*; leave it out"):
            shape_file(ending, plain, CATEGORIES)


def test_results_of_empty_voxels():
    """A detection whose voxels are all empty has a mesh without vertices."""
    found = Detections(BOXES, SCORES, LABELS, meshes=MESHES, camera=CAMERA, voxels=torch.zeros(2, 3, 4, 5))
    task = MeshDetection()
    first, second = task.results(found, CATEGORIES)
    assert (first["mesh"]["object"], second["mesh"]["object"]) == ("ball 1", "cup 2")
    assert second["mesh"] == {"object": "cup 2", "vertices": 0, "faces": 0, "bounds": None}
    assert second["voxels"] == {"size": [3, 4, 5]}
    names = {"meshes.glb": "a.meshes.glb", "voxels.npz": "a.voxels.npz"}
    content = task.results_content([first, second], [names, {}], CATEGORIES)
    assert content[0]["mesh"]["files"] == ["a.meshes.glb"]
    assert content[0]["voxels"]["files"] == ["a.voxels.npz"]
    assert content[1]["mesh"]["files"] == content[1]["voxels"]["files"] == []
    for ending in SHAPE_FILES:
        assert task.answer_file(ending, found, CATEGORIES)


def test_results_without_shapes_are_those_of_detection():
    plain = Detections(BOXES, SCORES, LABELS)
    entries = MeshDetection().results(plain, CATEGORIES)
    assert MeshDetection().results_content(entries, [{}, {}], CATEGORIES) == entries
    assert all(entry.keys() == {"category_id", "category", "bbox", "score"} for entry in entries)


@pytest.mark.parametrize("row", [0, 1])
def test_the_shape_of_an_image(row, tmp_path):
    shape, task = ObjectShape(MESHES[row], CAMERA), Reconstruction()
    (entry,) = task.results(shape, [])
    assert entry["vertices"] == len(shape.meshes.vertices)
    (entry,) = task.results_content([entry], [{"mesh.glb": "a.mesh.glb"}], [])
    assert entry["files"] == ["a.mesh.glb"]
    (tmp_path / "a.glb").write_bytes(task.answer_file("mesh.glb", shape, []))
    upright = shape.meshes.vertices * torch.tensor([1, -1, -1])
    assert torch.equal(read_gltf_objects(tmp_path / "a.glb").vertices, upright)
    if len(upright):
        (tmp_path / "a.obj").write_bytes(task.answer_file("mesh.obj", shape, []))
        assert torch.equal(read_obj(tmp_path / "a.obj").vertices, upright)
    with Image.open(io.BytesIO(task.answer_file("turntable.gif", shape, []))) as turntable:
        assert turntable.n_frames > 1 or not len(upright)


def test_cameras_follow_the_size_of_drawings_once():
    resized = Reconstruction().resized(ObjectShape(MESHES[0], CAMERA), (48, 64), (24, 32))
    torch.testing.assert_close(resized.camera, Placement.resize((48, 64), (24, 32)).camera(CAMERA))
