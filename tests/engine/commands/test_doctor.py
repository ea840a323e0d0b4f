"""``detkit doctor`` as a command: its arguments, its status, its file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from recipes import FASTER_RCNN

from detkit.engine.cli import main
from detkit.engine.commands.doctor.doctor_command import divided
from detkit.trust.doctor.checklist import CHECKS
from detkit.trust.doctor.findings import Check

QUICK = ["--skip=overfit", "--skip=memory", "--skip=random", "--images=4"]


def test_its_help_needs_no_torch():
    code = (
        "import sys\nfrom detkit.engine.cli import main\n"
        "try: main(['doctor', '--help'])\nexcept SystemExit as end: print(end.code, 'torch' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.endswith("0 False\n")
    assert "detkit doctor faster_rcnn_shapes" in said


def test_its_checks_are_those_that_can_be_skipped():
    assert tuple(CHECKS) == get_args(Check)


def test_its_own_arguments_are_told_from_those_of_the_training():
    own, training = divided(["fcos", "--out", "a.json", "--data.root", "b", "--skip=overfit", "--seed=3"])
    assert own == ["--out", "a.json", "--skip=overfit"]
    assert training == ["fcos", "--data.root", "b", "--seed=3"]


def test_an_unknown_check_is_named(detkit_command):
    status, said = detkit_command("doctor", "faster_rcnn_shapes", "--skip", "overfitting")
    assert status == 2
    assert "overfitting" in said
    assert "precision, overfit" in said


def test_a_healthy_recipe_passes_and_is_written(recipe, detkit_command, capfd):
    status, _ = detkit_command("doctor", "--config", recipe(model=FASTER_RCNN), *QUICK, "--out", "doctor.json")
    assert status == 0
    written = json.loads(Path("doctor.json").read_text())
    assert written["failed"] == []
    assert list(written["checks"]) == list(CHECKS)
    assert written["checks"]["round_trip"]["numbers"]["stages"][0] == {"stage": "evaluation", "lost": 0, "bbox": 1.0}
    assert written["checks"]["overfit"]["verdict"] == "skipped"


def test_a_check_that_fails_gives_status_1_and_the_lost_objects(recipe, capfd):
    model = json.loads(json.dumps(FASTER_RCNN))
    model["init_args"]["box_head"]["init_args"]["postprocess"] = {
        "class_path": "NMS",
        "init_args": {"score_threshold": 1.0},
    }
    with pytest.raises(SystemExit) as end:
        main(["doctor", "--config", recipe(model=model), *QUICK, "--out", "doctor.json"])
    assert end.value.code == 1
    checks = json.loads(Path("doctor.json").read_text())["checks"]
    assert {one["stage"] for one in checks["round_trip"]["numbers"]["lost"]} == {"score threshold"}
    assert "failed: round_trip" in capfd.readouterr().out


def test_data_that_cannot_be_read_is_explained(recipe, shapes_root, tmp_path, capfd):
    for split in ("train", "val"):
        content = json.loads((shapes_root / f"annotations/instances_{split}.json").read_text())
        for one in content["annotations"]:
            x, y, width, height = one["bbox"]
            one["bbox"] = [y + 40, x, height, width]  # out of the image
        (tmp_path / f"{split}.json").write_text(json.dumps(content))
    data = {
        "root": None,
        **{f"{split}_annotations": str(tmp_path / f"{split}.json") for split in ("train", "val")},
        **{f"{split}_images": str(shapes_root / "images" / split) for split in ("train", "val")},
    }
    with pytest.raises(SystemExit):
        main(["doctor", "--config", recipe(model=FASTER_RCNN, data=data), *QUICK, "--skip=round_trip"])
    said = capfd.readouterr().out
    assert "failed   annotations" in said
    assert "boxes have no area or lie outside their image" in said
