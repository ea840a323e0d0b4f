"""`detkit.export`: an ONNX file whose outputs are those of the model."""

import json

import pytest
import torch

import detkit
from detkit.backbones import Darknet53, TimmBackbone
from detkit.engine.verbs import onnx_file
from detkit.errors import InputError
from detkit.models import SSD, Classifier, Raw, YOLOv3
from detkit.preprocess import Letterbox, Square
from detkit.structures import Category

CLASSES = [Category(1, "cat"), Category(2, "dog"), Category(5, "cow")]


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = YOLOv3(Darknet53(0.05, [1] * 5), 3, preprocess=Letterbox((64, 96)))
    model.categories = CLASSES
    return model


@pytest.fixture
def with_onnx():
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"ONNX needs {package}: pip install detkit[onnx]")


def test_without_onnx_it_says_what_to_install(model, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_file, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs onnx and onnxscript, .*: pip install detkit\[onnx\]"):
        detkit.export(model, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []
    assert model.training


def test_the_file_says_what_the_model_is(model):
    facts = onnx_file.facts_of(model, torch.zeros(2, 3, 64, 96))
    assert json.loads(facts["detkit.classes"]) == ["cat", "dog", "cow"]
    assert (facts["detkit.model"], json.loads(facts["detkit.size"])) == ("YOLOv3", [64, 96])


def test_outputs_have_the_names_of_the_heads():
    ssd = SSD(TimmBackbone("test_resnet", stages=[3, 4]), 3, preprocess=Square(96)).eval()
    with torch.no_grad():
        assert onnx_file.output_names(ssd.raw(torch.rand(1, 3, 96, 96))) == ["logits", "deltas", "default_boxes"]
    assert onnx_file.output_names([torch.ones(1), None]) == ["output.0"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["yolo", "classifier"])
def test_onnx_runtime_detects_the_same(with_onnx, model, name, tmp_path):
    import onnxruntime

    model = model if name == "yolo" else Classifier("test_resnet", 3, preprocess=Square(64))
    detkit.export(model, tmp_path / "m.onnx", metadata={"license": "of mine"})
    assert model.training
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    assert session.get_inputs()[0].shape[0] == "batch"
    assert session.get_modelmeta().custom_metadata_map.items() >= {"license": "of mine"}.items()
    batch = model.eval().preprocess([torch.rand(3, 50, 70)] * 3)
    with torch.no_grad():
        expected = model.raw(batch.images)
    for ours, theirs in zip(session.run(None, {"images": batch.images.numpy()}), expected, strict=True):
        torch.testing.assert_close(torch.from_numpy(ours), theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_other_numbers_are_not_written(with_onnx, model, tmp_path, monkeypatch):
    calls = []

    class Changed(Raw):
        def forward(self, images):
            calls.append(images)
            return [output + (len(calls) > 2) for output in super().forward(images)]

    monkeypatch.setattr(onnx_file, "Raw", Changed)
    (tmp_path / "m.onnx").write_text("an earlier file")
    with pytest.raises(InputError, match=r"ONNX Runtime gives other numbers than the YOLOv3: output\.0 differs by"):
        detkit.export(model, tmp_path / "m.onnx")
    assert [one.name for one in tmp_path.iterdir()] == ["m.onnx"]
    assert (tmp_path / "m.onnx").read_text() == "an earlier file"
