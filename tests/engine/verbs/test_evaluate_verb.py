"""`detkit.evaluate`: the numbers of the command, to the digit."""

import json

import pytest
import torch

import detkit
from detkit.data import CocoDataset
from detkit.engine.cli import main
from detkit.errors import InputError

TRUST = {"trust": "tiny_detector", "device": "cpu"}


@pytest.fixture
def numbers(run_folder):
    """Those of ``detkit eval``."""
    options = ("--trust=tiny_detector", "--device=cpu", "--out=numbers.json", "--per_class")
    assert main(["eval", "--checkpoint", str(run_folder), *options]) == 0
    with open("numbers.json") as file:
        return json.load(file)


def test_a_checkpoint_gives_the_numbers_of_the_command(run_folder, numbers, capfd):
    capfd.readouterr()
    given = detkit.evaluate(run_folder, **TRUST, per_class=True)
    assert json.loads(json.dumps(given)) == numbers
    assert "COCO bbox" in capfd.readouterr().out


def test_a_model_gives_the_same_and_stays_as_it_was(run_folder, numbers, shapes_root):
    model = detkit.load(run_folder, trust=["tiny_detector"]).train()
    given = detkit.evaluate(model, shapes_root, device="cpu")["bbox"]
    assert given == {name: value for name, value in numbers["bbox"].items() if name in given}
    assert model.training
    assert next(model.parameters()).device == torch.device("cpu")


def test_another_split_and_evaluator(run_folder, shapes_root):
    model = detkit.load(run_folder, trust=["tiny_detector"])
    given = detkit.evaluate(model, {"root": shapes_root, "batch_size": 3}, "test", protocol="voc2010", device="cpu")
    assert given["voc2010"].keys() >= {"mAP"}
    assert list(detkit.evaluate(model, shapes_root, iou_type=["bbox"], device="cpu")) == ["bbox"]


def test_a_model_needs_classes_and_data(run_folder, shapes_root):
    model = detkit.load(run_folder, trust=["tiny_detector"])
    with pytest.raises(InputError, match="Give the data to evaluate the TinyDetector on"):
        detkit.evaluate(model)
    model.categories = model.categories[:2]
    with pytest.raises(InputError, match="the TinyDetector was trained on 2 classes"):
        detkit.evaluate(model, shapes_root, device="cpu")
    model.categories = None
    with pytest.raises(InputError, match="does not know its classes"):
        detkit.evaluate(model, shapes_root, device="cpu")
    model.categories = CocoDataset(
        shapes_root / "images" / "val", shapes_root / "annotations" / "instances_val.json"
    ).categories
    assert detkit.evaluate(model, shapes_root, device="cpu")["bbox"].keys() >= {"AP", "AP50"}


def test_wrong_input_is_said_in_words_of_python(run_folder, shapes_root):
    for given, said in (
        ({"split": "train"}, "^split must be one of"),
        ({"protocol": "voc2010", "bootstrap": 3}, "^bootstrap is for COCO's evaluation: leave it out, or protocol"),
        ({"thresholds": 3}, "^There is no setting thresholds"),
    ):
        with pytest.raises(InputError, match=said) as caught:
            detkit.evaluate(run_folder, shapes_root, **TRUST | given)
        assert "--" not in str(caught.value)
