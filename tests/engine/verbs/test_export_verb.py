"""`detkit.export`: the verb leaves the model and the process as they were."""

import json

import pytest
import torch
from torch.utils._pytree import tree_leaves

import detkit
from detkit.backbones import Darknet53
from detkit.errors import InputError
from detkit.exporting import onnx_program
from detkit.models import Classifier, YOLOv3
from detkit.preprocess import Letterbox, Square
from detkit.structures import Category

CLASSES = [Category(1, "cat"), Category(2, "dog"), Category(5, "cow")]


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = YOLOv3(Darknet53(0.05, [1] * 5), 3, preprocess=Letterbox((64, 96)))
    model.categories = CLASSES
    return model


def test_without_onnx_it_says_what_to_install(model, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_program, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs onnx and onnxscript, .*: pip install detkit\[onnx\]"):
        detkit.export(model, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []
    assert model.training


def test_the_model_is_left_as_it_was(model, tmp_path):
    assert detkit.export(model, str(tmp_path / "m.pt2"), metadata={"license": "of mine"}) == tmp_path / "m.pt2"
    assert model.training
    extra = {"detkit.json": ""}
    torch.export.load(tmp_path / "m.pt2", extra_files=extra)
    facts = json.loads(extra["detkit.json"])
    assert (facts["license"], json.loads(facts["detkit.classes"])) == ("of mine", ["cat", "dog", "cow"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["yolo", "classifier"])
def test_the_network_alone_in_onnx_runtime(model, name, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    model = model if name == "yolo" else Classifier("test_resnet", 3, preprocess=Square(64))
    detkit.export(model, tmp_path / "m.onnx", raw=True)
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    assert session.get_inputs()[0].shape[0] == "batch"
    batch = model.eval().preprocess([torch.rand(3, 50, 70)] * 3)
    with torch.no_grad():
        expected = tree_leaves(model.raw(batch.images))
    for ours, theirs in zip(session.run(None, {"images": batch.images.numpy()}), expected, strict=True):
        torch.testing.assert_close(torch.from_numpy(ours), theirs, atol=1e-4, rtol=1e-4)
