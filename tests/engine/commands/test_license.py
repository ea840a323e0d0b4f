"""`detkit license`: what a file says of its weights, without building the model."""

import sys

import pytest
import torch
from tiny_detector import TinyDetector

import detkit
from detkit.engine.checkpoint import read_checkpoint, save_model, write_checkpoint
from detkit.engine.cli import main
from detkit.structures import WeightsSource
from detkit.structures.weights_source import PROVENANCE_KEY, provenance_text

TINY = {"class_path": "tiny_detector.TinyDetector", "init_args": {"num_classes": 2}}
SOURCE = WeightsSource("timm a.b", "timm/a.b", "apache-2.0")


def _printed(capsys, *arguments):
    assert main(["license", *map(str, arguments)]) == 0
    return capsys.readouterr().out


@pytest.fixture
def run(tmp_path):
    model = TinyDetector(2)
    model.provenance = [SOURCE]
    save_model(model, TINY, tmp_path / "best.ckpt")
    return tmp_path


def test_of_a_checkpoint_and_of_a_run_that_needs_trust_to_be_built(run, capsys):
    text = _printed(capsys, run / "best.ckpt")
    assert text == _printed(capsys, run)
    assert f"best.ckpt: written by detkit {detkit.__version__}" in text
    assert "weights: timm a.b\n  from: timm/a.b\n  license: apache-2.0" in text
    assert "Apache-2.0" in text.splitlines()[-1]


def test_they_are_those_of_a_loaded_model(run):
    assert detkit.load(run, trust=["tiny_detector"]).provenance == (SOURCE,)


@pytest.mark.parametrize(("sources", "sentence"), [([], "trained from random numbers"), (None, "weights: unknown")])
def test_a_file_that_names_none(run, capsys, sources, sentence):
    content = read_checkpoint(run / "best.ckpt")
    content["detkit"]["provenance"] = sources
    if sources is None:  # as of older releases
        del content["detkit"]["provenance"]
    write_checkpoint(content, run / "best.ckpt")
    assert sentence in _printed(capsys, run)
    assert detkit.load(run, trust=["tiny_detector"]).provenance == ()


def test_of_an_onnx_file(tmp_path, capsys):
    onnx = pytest.importorskip("onnx")
    graph = onnx.helper.make_graph([], "empty", [], [])
    model = onnx.helper.make_model(graph)
    onnx.helper.set_model_props(model, {PROVENANCE_KEY: provenance_text([SOURCE]), "detkit.version": "0.7"})
    onnx.save(model, tmp_path / "m.onnx")
    text = _printed(capsys, tmp_path / "m.onnx")
    assert "written by detkit 0.7" in text
    assert "license: apache-2.0" in text


def test_an_onnx_file_without_the_package(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert main(["license", str(tmp_path / "m.onnx")]) == 2
    assert "pip install onnx" in capsys.readouterr().err


def test_a_wrong_file_is_one_sentence(tmp_path, capsys):
    torch.save({"a": 1}, tmp_path / "a.ckpt")
    assert main(["license", str(tmp_path / "a.ckpt")]) == 2
    assert "is not a checkpoint of detkit" in capsys.readouterr().err
