"""A stranger's task, in one file: all commands work on it, and `detkit doctor` examines it."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from depth_task import Depth, DepthError, DepthEstimation, Ramps

from detkit.testing import check_dataset, check_evaluator, check_task

NET = "depth_task.DepthNet"
TRUST = ("--trust", "depth_task")


@pytest.fixture
def depth_recipe(recipe):
    def write(**arguments) -> str:
        return recipe(
            "depth",
            model={"class_path": NET, "init_args": arguments},
            data={"root": None, "dataset": {"class_path": "depth_task.Ramps"}},
        )

    return write


def examined(recipe: str, detkit_command, *argv: str) -> dict:
    with contextlib.suppress(SystemExit):  # where a check fails
        detkit_command("doctor", "--config", recipe, "--out", "doctor.json", "--skip=memory", *argv)
    return json.loads(Path("doctor.json").read_text())["checks"]


def test_keeps_to_the_contracts():
    check_dataset(Ramps("train").reading({"depth"}))
    task, flat, data = DepthEstimation(), Depth(torch.zeros(32, 48)), Ramps("train")
    check_task(task, np.zeros((32, 48, 3), np.uint8), flat, data.categories, data.target(0))
    check_evaluator(DepthError, data, lambda target: task.truth(target) or flat, empty=flat)


def test_all_commands_work_on_it(depth_recipe, detkit_command):
    status, said = detkit_command("train", "--config", depth_recipe())
    assert status == 0, said
    for command in (
        ("eval", "--checkpoint", "runs/depth", "--out", "metrics.json"),
        ("compare", "runs/depth/best.ckpt", "runs/depth/last.ckpt", "--bootstrap=5", "--out", "compare.json"),
        ("report", "runs/depth", "--bootstrap=0", "--out", "report.html"),
        ("export", "runs/depth", "--to", "torch_export", "--out", "depth.pt2"),
    ):
        status, said = detkit_command(*command, *TRUST)
        assert status == 0, said
    error = json.loads(Path("metrics.json").read_text())["depth"]["error"]
    assert f"{error:.4g}" in Path("report.html").read_text()
    assert "error" in json.dumps(json.loads(Path("compare.json").read_text()))
    graph = torch.export.load("depth.pt2").module()
    assert list(graph(torch.zeros(2, 3, 32, 32))) == ["depth"]


class TestDoctor:
    def test_passes_a_healthy_recipe(self, depth_recipe, detkit_command):
        checks = examined(depth_recipe(), detkit_command)
        assert {name for name, one in checks.items() if one["verdict"] == "failed"} == set()
        assert checks["annotations"]["notes"][0] == "1 images have no depth, such as 'ramp 5'"
        stages = checks["round_trip"]["numbers"]["stages"]
        assert [one["stage"] for one in stages] == ["evaluation", "decoding", "results file"]
        assert stages[0]["depth"] == 0
        assert 0 < stages[-1]["depth"] < 0.01  # the network's frame has fewer pixels
        assert checks["anchors"]["verdict"] == "skipped"
        assert checks["overfit"]["numbers"]["recovered"] == 1

    def test_names_a_head_that_is_too_coarse(self, depth_recipe, detkit_command):
        quick = [f"--skip={name}" for name in ("random", "precision", "overfit", "workers")]
        finding = examined(depth_recipe(coarse=32), detkit_command, *quick)["round_trip"]
        assert finding["verdict"] == "failed"
        assert "raise its resolution" in finding["notes"][0]
        assert [one["image_id"] for one in finding["numbers"]["lost"]] == ["ramp 0", "ramp 1", "ramp 2"]

    def test_names_an_error_that_is_too_small_for_an_untrained_model(self, depth_recipe, detkit_command, monkeypatch):
        monkeypatch.setattr(DepthError, "chance", lambda self: 0.9)
        skipped = ("round_trip", "augmentation", "precision", "overfit", "workers")
        finding = examined(depth_recipe(), detkit_command, *(f"--skip={name}" for name in skipped))["random"]
        assert finding["verdict"] == "failed"
        assert "expected above 0.90" in finding["sentence"]

    def test_goes_on_without_an_ideal(self, depth_recipe, detkit_command, monkeypatch):
        monkeypatch.delattr("depth_task.DepthHead.ideal")
        skipped = ("random", "precision", "overfit", "workers")
        checks = examined(depth_recipe(), detkit_command, *(f"--skip={name}" for name in skipped))
        assert (checks["round_trip"]["verdict"], checks["anchors"]["verdict"]) == ("passed", "skipped")
        assert "no head with a method `ideal`" in checks["round_trip"]["notes"][0]
