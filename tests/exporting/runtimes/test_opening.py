"""Files of every format are opened alike, and give the same numbers."""

import json

import numpy as np
import pytest
import torch

from detkit.backbones import TimmBackbone
from detkit.errors import InputError
from detkit.exporting.export_file import export_file
from detkit.exporting.runtimes import open_exported, opening
from detkit.models import Classifier
from detkit.preprocess import CenterCrop
from detkit.structures import Category


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = Classifier(TimmBackbone("test_resnet", stages=[4]), 3, preprocess=CenterCrop((64, 64), 73)).eval()
    model.categories = [Category(1, "cat"), Category(2, "dog"), Category(5, "cow")]
    return model


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    """Its files in every format whose packages are installed, as it is and raw."""
    folder = tmp_path_factory.mktemp("files")
    for suffix in (".pt2", ".ts"):
        export_file(model, folder / f"m{suffix}")
    export_file(model, folder / "raw.ts", raw=True, size=(64, 64))
    return folder


def expected(model, images):
    with torch.no_grad():
        return model.predict(list(images))


@pytest.mark.parametrize("suffix", [".onnx", ".pt2", ".ts", ".xml"])
def test_a_file_gives_probabilities_and_facts(model, folder, suffix):
    path = made(model, folder, suffix)
    images = torch.rand(2, 3, 64, 64)
    file = open_exported(path)
    assert (file.inputs, file.outputs, file.precision) == (["images"], ["probabilities"], "float32")
    assert file.shapes == ({} if suffix == ".ts" else {"images": [None, 3, 64, 64]})
    assert json.loads(file.facts["detkit.classes"]) == ["cat", "dog", "cow"]
    given = file.run({"images": images, "sizes": torch.zeros(2, 2)})["probabilities"]
    for row, answer in zip(given, expected(model, images), strict=True):
        np.testing.assert_allclose(row[answer.labels], answer.scores, atol=1e-5)
    assert file.runtime.split()[0] in ("ONNX", "torch", "OpenVINO")


def made(model, folder, suffix):
    if suffix in (".onnx", ".xml"):
        for package in ("onnx", "onnxscript", "onnxruntime"):
            pytest.importorskip(package, reason=f"ONNX needs {package}: pip install detkit[onnx]")
        if not (folder / "m.onnx").exists():
            export_file(model, folder / "m.onnx")
    if suffix == ".xml":
        openvino = pytest.importorskip("openvino", reason="needs openvino: pip install detkit[openvino]")
        openvino.save_model(openvino.convert_model(folder / "m.onnx"), folder / "m.xml", compress_to_fp16=False)
    return folder / f"m{suffix}"


def test_raw_outputs_of_torchscript_are_numbered(folder):
    file = open_exported(folder / "raw.ts")
    assert file.outputs == list(file.run({"images": torch.rand(1, 3, 64, 64)})) == ["output.0"]


def test_half_precision_is_seen_in_the_weights(folder, tmp_path):
    torch.jit.save(torch.jit.load(folder / "m.ts").half(), tmp_path / "half.ts")
    assert open_exported(tmp_path / "half.ts").precision == "float16"


def test_what_cannot_be_opened_says_so(folder, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"m\.tflite is no exported file: give one that ends in \.onnx, \.pt2"):
        open_exported("m.tflite")
    with pytest.raises(InputError, match=r"none\.ts: there is no such file"):
        open_exported(tmp_path / "none.ts")
    (tmp_path / "broken.ts").write_bytes(b"no zip")
    with pytest.raises(InputError, match=r"torch cannot read .*broken\.ts"):
        open_exported(tmp_path / "broken.ts")
    (tmp_path / "m.xml").write_text("<net/>")
    monkeypatch.setattr(opening, "find_spec", lambda package: None)
    with pytest.raises(InputError, match=r"m\.xml needs openvino, not installed here: pip install detkit\[openvino\]"):
        open_exported(tmp_path / "m.xml")


def test_a_missing_input_is_named(folder):
    with pytest.raises(InputError, match=r"m\.pt2 takes images, but images is not given"):
        open_exported(folder / "m.pt2").run({})
