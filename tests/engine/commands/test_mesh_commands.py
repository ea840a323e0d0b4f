"""Commands on a Mesh R-CNN whose network is not trained: its boxes are anywhere, its voxels all occupied."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from every_model import MODELS

from detkit.backbones import TorchvisionBackbone
from detkit.data import Shapes3D
from detkit.engine.commands.explanation.explaining import _given
from detkit.engine.commands.verify.verifying import _say_left_out
from detkit.engine.evaluators import make_evaluators
from detkit.errors import InputError
from detkit.exporting.export_file import export_file
from detkit.images import read_image
from detkit.tasks import task_of

SHAPES = {"counts": {"train": 2, "val": 2, "test": 2}, "image_size": [48, 64], "names": ["box", "cone", "torus"]}
DATA = (f"--data.dataset={json.dumps({'class_path': 'Shapes3D', 'init_args': SHAPES})}", "--data.num_workers=0")


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = MODELS["mesh"](lambda: TorchvisionBackbone("resnet18")).eval()
    model.categories = Shapes3D("val", **SHAPES).categories
    return model


@pytest.fixture(scope="module")
def checkpoint(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("mesh") / "mesh.ckpt"
    model.save(path)
    return path


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("a.png", np.full((40, 60, 3), 90, np.uint8))


@pytest.mark.slow  # the export of a two-stage graph
def test_verify_compares_voxels_and_leaves_meshes_out(model, checkpoint, detkit_command, caplog):
    caplog.set_level("INFO")
    export_file(model, Path("mesh.ts"))
    options = ("--checkpoint", checkpoint, "--bootstrap=2", *DATA)
    status, said = detkit_command("verify", "mesh.ts", *options, "--out", "certificate.json")
    assert status == 0, said
    assert "mesh is not compared: files of the MeshRCNN have no meshes" in caplog.text
    (entry,) = json.loads(Path("certificate.json").read_text())["files"]
    assert entry["certified"]
    assert entry["evaluators"].keys() == {"bbox"}
    assert {"voxels", "masks"} <= entry["answers"]["largest"].keys()


def test_visualize_explains_a_detection(checkpoint, detkit_command):
    options = ("--checkpoint", checkpoint, "--count=1", "--top=1", "--square=40", "--out=views.png")
    status, said = detkit_command("visualize", "a.png", *options)
    assert status == 0, said
    assert read_image("views.png").size


def test_files_have_no_meshes(model):
    task = task_of(model)
    assert task.exported_parts == task.parts - {"meshes"}
    evaluators = make_evaluators(model, None, Shapes3D("val", **SHAPES).ground_truth(), model.categories)
    _say_left_out(evaluators, {"bbox": evaluators["bbox"]}, model)
    with pytest.raises(InputError, match="No evaluator is left, since files of the MeshRCNN have no meshes: name"):
        _say_left_out({"mesh": evaluators["mesh"]}, {}, model)


def test_visualize_says_what_it_cannot_give():
    model = SimpleNamespace(asks_for={"proposals", "camera"})
    with pytest.raises(InputError, match="asks for camera, proposals of each image, which `detkit visualize` cannot"):
        _given(model, torch.zeros(3, 20, 30))


def test_report_has_a_section_of_meshes(checkpoint, detkit_command):
    status, said = detkit_command("report", checkpoint, "--images=1", "--bootstrap=2", "--out=page.html", *DATA)
    assert status == 0, said
    page = Path("page.html").read_text()
    assert "AP_mesh is" in page
    assert page.count('<figure class="meshes">') == 1
    assert re.search(r"<h2[^>]*>Meshes</h2>", page)
