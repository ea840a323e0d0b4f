import json
import shutil

import pytest
import torch
from lightning.pytorch import Trainer
from rich import get_console

import detkit
from detkit.data import CocoDataset, find_split
from detkit.engine.cli import main
from detkit.engine.evaluation_module import EvaluationModule
from detkit.evaluation import CocoEvaluator

TRUST = ("--trust", "tiny_detector")


def test_a_checkpoint_on_its_own_data(run_folder, shapes_root, detkit_command, tmp_path):
    out, detections, curves = (tmp_path / name for name in ("metrics.json", "detections.json", "pr.png"))
    status, said = detkit_command(
        "eval", "--checkpoint", run_folder, *TRUST, "--out", out, "--per_class", "--curves", curves,
        "--save_detections", detections, "--bootstrap", "20", "--errors",
    )  # fmt: skip
    assert status == 0, said
    metrics = json.loads(out.read_text())["bbox"]
    assert metrics["per_class"].keys() == {"disc", "box", "triangle", "ring", "star", "cross", "crescent"}
    assert curves.stat().st_size > 1000
    assert (
        metrics["intervals"].keys()
        == CocoEvaluator(shapes_root / "annotations" / "instances_val.json").compute().keys()
    )
    assert metrics["errors"]["count"]["false_positives"] >= metrics["errors"]["count"]["background"]

    model, dataset = detkit.load(run_folder, trust=["tiny_detector"]), CocoDataset(*find_split(shapes_root, "val"))
    evaluator = CocoEvaluator(dataset.annotations_path)
    evaluator.update(dataset.image_ids, model.predict([dataset[index][0] for index in range(len(dataset))]))
    for name, value in evaluator.compute().items():
        assert metrics[name] == pytest.approx(value, abs=1e-6)

    again = tmp_path / "again.json"
    annotations = dataset.annotations_path
    status, said = detkit_command("eval", "--annotations", annotations, "--detections", detections, "--out", again)
    assert status == 0, said
    assert json.loads(again.read_text())["bbox"]["AP"] == pytest.approx(metrics["AP"], abs=1e-6)


def test_another_folder_and_split(run_folder, shapes_root, detkit_command, tmp_path):
    only_test = tmp_path / "only_test"
    shutil.copytree(shapes_root / "images" / "test", only_test / "images" / "test")
    (only_test / "annotations").mkdir()
    shutil.copy(shapes_root / "annotations" / "instances_test.json", only_test / "annotations")
    out = tmp_path / "metrics.json"
    command = ["eval", "--checkpoint", run_folder, *TRUST, "--data.root", only_test, "--out", out]
    status, said = detkit_command(*command, "--split", "test")
    assert status == 0, said
    assert "AP" in json.loads(out.read_text())["bbox"]
    status, said = detkit_command(*command, "--split", "val")
    assert status == 2
    assert "val" in said


@pytest.mark.parametrize("form", [("--checkpoint", "RUN"), ("--checkpoint=RUN",)], ids=["two words", "one word"])
def test_the_checkpoint_is_read_once(run_folder, detkit_command, monkeypatch, form):
    load, read = torch.load, []
    monkeypatch.setattr(torch, "load", lambda *args, **options: read.append(args[0]) or load(*args, **options))
    status, said = detkit_command("eval", *(word.replace("RUN", str(run_folder)) for word in form), *TRUST)
    assert status == 0, said
    assert read == [run_folder / "best.ckpt"]


def test_evaluation_has_no_optimizer(run_folder, detkit_command, monkeypatch):
    evaluated, validate = [], Trainer.validate

    def watched(self, module, *args, **options):
        evaluated.append(module)
        return validate(self, module, *args, **options)

    monkeypatch.setattr(Trainer, "validate", watched)
    status, said = detkit_command("eval", "--checkpoint", run_folder, *TRUST)
    assert status == 0, said
    (module,) = evaluated
    assert type(module) is EvaluationModule
    assert list(dict(module.named_children())) == ["model"]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], ["--checkpoint"]),
        (["--detections", "d.json"], ["--annotations"]),
        (["--checkpoint", "RUN", "--iou_type", "keypoints", "--errors"], ["--errors", "bbox or segm"]),
        (["--checkpoint", "none.ckpt"], ["none.ckpt does not exist"]),
        (["--checkpoint", "RUN"], ["tiny_detector", "--trust tiny_detector"]),
        (["--checkpoint", "RUN", *TRUST, "--protocol", "voc"], ["protocol", "voc2007"]),
        (["--checkpoint", "RUN", *TRUST, "--protocol", "voc2010", "--errors"], ["--errors", "--protocol voc2010"]),
        (["--checkpoint", "RUN", *TRUST, "--device", "cuda:99"], ["cuda:99"]),
        (["--checkpoint", "RUN", *TRUST, "--split", "train"], ["split", "val"]),
        (["--checkpoint", "RUN", *TRUST, "--iou_type", "segm"], ["masks"]),
        (["--checkpoint", "RUN", *TRUST, "--data.batch", "3"], ["--data.batch", "data.batch_size"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_wrong_input(run_folder, detkit_command, argv, words):
    argv = [str(run_folder) if argument == "RUN" else argument for argument in argv]
    status, said = detkit_command("eval", *argv)
    assert status == 2
    assert not [word for word in words if word not in said], said
    assert said.count("\n") == 1


def test_other_classes_are_refused(run_folder, shapes_root, detkit_command, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(shapes_root, other)
    for path in other.glob("annotations/*.json"):
        path.write_text(path.read_text().replace('"ring"', '"wheel"'))
    status, said = detkit_command("eval", "--checkpoint", run_folder, *TRUST, "--data.root", other)
    assert status == 2
    assert "ring" in said
    assert "wheel" in said


def test_two_evaluators_of_one_name_are_refused_of_a_file_too(shapes_root, detkit_command, tmp_path):
    annotations, detections = shapes_root / "annotations" / "instances_val.json", tmp_path / "detections.json"
    detections.write_text("[]")
    files = ("--annotations", annotations, "--detections", detections)
    status, said = detkit_command("eval", *files, "--evaluators", "[CocoEvaluator, CocoEvaluator]")
    assert status == 2
    assert "two are called bbox" in said


@pytest.mark.parametrize("names", [["[/x]", "[dog]"], [f"rather_long_name_{letter}" for letter in "abcdefgh"]])
def test_names_of_classes_are_printed_as_they_are(names, tmp_path, capfd, monkeypatch):
    """Also where they do not fit a terminal of 80 columns."""
    monkeypatch.setattr(get_console(), "_width", 80)
    truth = {
        "images": [{"id": 1, "width": 64, "height": 48}],
        "categories": [{"id": number, "name": name} for number, name in enumerate(names)],
        "annotations": [
            {"id": 1 + k, "image_id": 1, "category_id": k, "bbox": [7 * k, 5, 6, 9], "area": 54, "iscrowd": 0}
            for k in range(len(names))
        ],
    }
    found = [
        {key: one[key] for key in ("image_id", "category_id", "bbox")} | {"score": 0.9} for one in truth["annotations"]
    ]
    for name, content in (("truth", truth), ("found", found)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    paths = [str(tmp_path / name) for name in ("truth.json", "found.json", "confusion.csv")]
    assert (
        main(["eval", "--annotations", paths[0], "--detections", paths[1], "--per_class", "--confusion", paths[2]]) == 0
    )
    shown = capfd.readouterr().out
    tables = shown.count("COCO bbox by class") + shown.count("confusion, ")  # parts of them have all rows
    assert tables == 2 if len(names) == 2 else tables > 2
    assert all(shown.count(name) == tables + 1 for name in names)  # and once in the head of a confusion
    assert "…" not in shown
