"""`detkit compare`: one run given twice, two that differ, and what cannot be compared."""

from __future__ import annotations

import json
import shutil

import pytest

from detkit.engine.cli import main

TRUST = ("--trust", "tiny_detector")


@pytest.fixture
def compared(detkit_command, tmp_path):
    """Runs the command; gives the content of its file."""

    def run(*argv: str) -> dict:
        out = tmp_path / "compare.json"
        status, said = detkit_command("compare", *argv, "--bootstrap", "50", "--out", out)
        assert status == 0, said
        return json.loads(out.read_text())

    return run


@pytest.fixture
def files(shapes_root, tmp_path):
    """The annotations, a file of perfect detections, and one with a third of them, each at another place."""
    annotations = shapes_root / "annotations" / "instances_val.json"
    objects = [one for one in json.loads(annotations.read_text())["annotations"] if not one["iscrowd"]]
    keys = ("image_id", "category_id", "bbox")
    perfect = [{key: one[key] for key in keys} | {"score": 0.9 - 0.01 * k} for k, one in enumerate(objects)]
    worse = [one | {"bbox": [one["bbox"][0] + 1, *one["bbox"][1:]]} for one in perfect[::3]]
    for name, entries in {"perfect.json": perfect, "worse.json": worse}.items():
        (tmp_path / name).write_text(json.dumps(entries))
    return annotations, tmp_path / "perfect.json", tmp_path / "worse.json"


def test_one_run_given_twice(run_folder, compared, detkit_command, tmp_path):
    content = compared(run_folder, run_folder / "best.ckpt", *TRUST, "--per_class", "--device", "cpu")
    bbox = content["evaluators"]["bbox"]
    assert bbox["equal"] is True
    assert bbox["better"] is bbox["images_needed"] is None
    assert "nothing tells them apart" in bbox["verdict"]  # after one epoch the AP is 0
    assert "over 5 images" in bbox["verdict"]
    assert bbox["numbers"]["AP"]["A"] == bbox["numbers"]["AP"]["B"]
    assert bbox["per_class"].keys() == {"disc", "box", "triangle", "ring", "star", "cross", "crescent"}
    metrics = tmp_path / "metrics.json"
    assert detkit_command("eval", "--checkpoint", run_folder, *TRUST, "--device", "cpu", "--out", metrics)[0] == 0
    assert bbox["numbers"]["AP"]["A"] == pytest.approx(json.loads(metrics.read_text())["bbox"]["AP"], abs=1e-6)


def test_another_folder_and_split(run_folder, compared, shapes_root):
    arguments = ("--data", shapes_root, "--data.num_workers=0", "--split", "test", "--device", "cpu", *TRUST)
    result = compared(run_folder / "best.ckpt", run_folder / "last.ckpt", *arguments)
    assert (result["A"], result["B"]) == (str(run_folder / "best.ckpt"), str(run_folder / "last.ckpt"))
    assert result["evaluators"]["bbox"]["images"] == 4


def test_files_of_detections(files, compared, capfd):
    annotations, perfect, worse = files
    bbox = compared(perfect, worse, "--annotations", annotations)["evaluators"]["bbox"]
    assert bbox["better"] == "A"
    assert bbox["numbers"]["AP"]["A"] == pytest.approx(1)
    assert bbox["numbers"]["AP"]["interval"][0] > 0
    assert bbox["verdict"].startswith("A is better by")
    options = ("--annotations", annotations, "--protocol", "voc2007", "--seed", "3")
    assert compared(worse, perfect, *options)["evaluators"]["voc2007"]["better"] == "B"
    assert main(["compare", *map(str, (worse, perfect, *options))]) == 0
    said = capfd.readouterr().out
    assert "B is better by" in said
    assert f"A: {worse}" in said.replace("\n", "")


def test_several_evaluators(files, compared, tmp_path, shapes_root):
    evaluators = "[CocoEvaluator, {class_path: VocEvaluator, init_args: {protocol: voc2010}}]"
    annotations, perfect, worse = files
    result = compared(perfect, worse, "--annotations", annotations, "--evaluators", evaluators)
    assert {name: one["better"] for name, one in result["evaluators"].items()} == {"bbox": "A", "voc2010": "A"}


def test_a_run_and_a_file(run_folder, files, compared, shapes_root):
    annotations, perfect, _ = files
    result = compared(run_folder, perfect, "--annotations", annotations, *TRUST, "--device", "cpu")
    assert result["evaluators"]["bbox"]["numbers"]["AP"]["B"] == pytest.approx(1)
    assert result["evaluators"]["bbox"]["images"] == 5


def test_other_data_is_refused_before_a_model_runs(run_folder, files, detkit_command, tmp_path, monkeypatch):
    annotations, perfect, _ = files
    truth = json.loads(annotations.read_text())
    gone = truth["images"].pop()["id"]
    truth["annotations"] = [one for one in truth["annotations"] if one["image_id"] != gone]
    fewer, found = tmp_path / "fewer.json", tmp_path / "found.json"
    fewer.write_text(json.dumps(truth))
    found.write_text(json.dumps([one for one in json.loads(perfect.read_text()) if one["image_id"] != gone]))
    monkeypatch.setattr("detkit.engine.commands.evaluation.evaluating.PreparedEvaluation.run", None)
    status, said = detkit_command("compare", run_folder, found, "--annotations", fewer, *TRUST, "--device", "cpu")
    assert status == 2
    assert "A is evaluated on 5 images" in said
    assert "give both the same data" in said


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("a.json", "b.json"), "a.json is a file of detections, which needs --annotations"),
        (("runs/a", "runs/b", "--annotations", "x.json"), "--annotations is for files of detections"),
        (("a.json", "b.json", "--annotations", "x.json", "--data.root", "y"), "--data.root is for checkpoints"),
        (("a.json", "b.json", "--bootstrap", "1"), "samples must be at least 2"),
        (("a.json", "b.json", "--confidence", "95"), "confidence must be between 0 and 1"),
        (("a.json", "b.json", "--annotations", "x.json", "--out", "."), ". cannot be written (Is a directory)"),
        (("a.json",), "must be given"),
        (("missing", "missing"), "missing"),
    ],
)
def test_wrong_arguments_are_explained(arguments, sentence, detkit_command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, said = detkit_command("compare", *arguments)
    assert status == 2
    assert sentence in said


def test_a_wrong_argument_of_the_data(run_folder, files, detkit_command):
    annotations, perfect, _ = files
    arguments = ("--annotations", annotations, *TRUST, "--device", "cpu")
    shutil.copy(perfect, "same.json")
    status, said = detkit_command(
        "compare", run_folder, "same.json", *arguments, "--protocol", "voc2007", "--data.bad=1"
    )
    assert status == 2
    assert "data.bad" in said
