"""`detkit.doctor`: the findings of the command, returned."""

import json
from pathlib import Path

import pytest
import torch
from tiny_detector import TinyDetector

import detkit
from detkit.errors import InputError

SKIP = ["overfit", "memory", "workers", "round_trip", "augmentation"]


def test_gives_what_the_command_writes(recipe, capfd):
    findings = detkit.doctor(recipe(), skip=SKIP, images=3, out="doctor.json", seed=1)
    written = json.loads(Path("doctor.json").read_text())["checks"]
    assert {one.check: one.entry() for one in findings} == written
    assert {one.check for one in findings if one.verdict == "skipped"} >= set(SKIP)
    assert "no check failed" in capfd.readouterr().out
    assert not Path("runs").exists()


def test_leaves_a_model_as_it_is(shapes_root):
    model = TinyDetector(num_classes=7)
    before = {name: one.clone() for name, one in model.state_dict().items()}
    data = {"root": str(shapes_root), "num_workers": 0, "batch_size": 2}
    findings = {one.check: one for one in detkit.doctor(model, data, skip=SKIP, images=3, device="cpu")}
    assert findings["precision"].verdict == "passed"
    assert all(torch.equal(one, before[name]) for name, one in model.state_dict().items())
    assert model.categories is None


def test_names_a_check_that_does_not_exist(recipe):
    with pytest.raises(InputError, match="skip overfitting: there is no such check"):
        detkit.doctor(recipe(), skip=["overfitting"])
