"""Classifiers and localizers through the commands."""

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

import detkit
from detkit.data import ImageFolderDataset, ShapesOptions, draw_shapes
from detkit.evaluation import ClassificationEvaluator, LocalizationEvaluator

TRUNK = {"class_path": "DarknetTiny", "init_args": {"width": 0.25, "stages": [4]}}
STRETCH = {"class_path": "Stretch", "init_args": {"size": [32, 32]}}
CLASSIFIER = {"class_path": "Classifier", "init_args": {"net": TRUNK, "preprocess": STRETCH}}
LOCALIZER = {"class_path": "Localizer", "init_args": {"backbone": TRUNK, "preprocess": STRETCH}}


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    """Bright and dark images."""
    root = tmp_path_factory.mktemp("folders")
    random = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 3)):
        for name, level in (("bright", 200), ("dark", 40)):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                image = random.integers(level - 40, level + 40, (40, 48, 3)).astype(np.uint8)
                cv2.imwrite(str(root / split / name / f"{number}.png"), image)
    return root


@pytest.fixture(scope="module")
def one_object(tmp_path_factory) -> Path:
    options = ShapesOptions(
        {"train": 12, "val": 6}, (48, 64), max_objects=1, crowd_probability=0, names=("disc", "star")
    )
    return draw_shapes(tmp_path_factory.mktemp("data") / "shapes", options)


@pytest.fixture
def trained(recipe, detkit_command, folders, one_object):
    """Trains a model for some epochs; gives the folder of the run."""

    def train(model, *argv, **data):
        config = recipe(model=model, data={"root": str(one_object), "batch_size": 4, **data}, pictures=2)
        status, said = detkit_command("train", "--config", config, *argv)
        assert status == 0, said
        return Path("runs/tiny").resolve()

    return train


def test_a_classifier_of_folders(trained, folders, detkit_command, tmp_path):
    run = trained(CLASSIFIER, "--trainer.max_epochs=6", root=str(folders))
    assert (run / "best.ckpt").is_file()
    assert (run / "pictures" / "epoch_006.png").is_file()
    with open(run / "metrics.csv") as file:
        logged = [
            float(row["val/classification/top1"]) for row in csv.DictReader(file) if row["val/classification/top1"]
        ]
    assert max(logged) == 1.0

    command = ("eval", "--checkpoint", run, "--out", "metrics.json", "--per_class", "--confusion", "confusion.csv")
    status, said = detkit_command(*command)
    assert status == 0, said
    metrics = json.loads(Path("metrics.json").read_text())["classification"]
    assert metrics["top1"] == max(logged)
    assert metrics["per_class"]["dark"]["images"] == 3
    assert Path("confusion.csv").read_text().splitlines() == ["class,bright,dark", "bright,3,0", "dark,0,3"]

    model, dataset = detkit.load(run), ImageFolderDataset(folders, "val")
    evaluator = ClassificationEvaluator(dataset.ground_truth(), model.categories)
    evaluator.update(dataset.image_ids, model.predict([dataset[index][0] for index in range(len(dataset))]))
    assert evaluator.compute()["top1"] == metrics["top1"]

    status, said = detkit_command("predict", "--checkpoint", run, folders / "val" / "dark", "--out", "found")
    assert status == 0, said
    entries = json.loads(Path("found/classes.json").read_text())
    assert [entry["category"] for entry in entries if entry["score"] > 0.5] == ["dark"] * 3
    assert entries[0].keys() == {"file_name", "image_id", "category_id", "category", "score"}
    assert len(entries) == 6
    assert len(list(Path("found").glob("*.png"))) == 3


def test_a_localizer_of_single_objects(trained, one_object, detkit_command):
    run = trained(LOCALIZER, image_class="largest")
    status, said = detkit_command("eval", "--checkpoint", run, "--out", "metrics.json", "--confusion", "confusion.png")
    assert status == 0, said
    metrics = json.loads(Path("metrics.json").read_text())["localization"]
    assert metrics["localization_error"] == pytest.approx(1 - metrics["top5_localization"])
    assert Path("confusion.png").is_file()

    model = detkit.load(run)
    truth = json.loads((one_object / "annotations" / "instances_val.json").read_text())
    for image in truth["images"]:
        (image["category_id"],) = {one["category_id"] for one in truth["annotations"] if one["image_id"] == image["id"]}
    evaluator = LocalizationEvaluator(truth, model.categories)
    paths = [one_object / "images" / "val" / image["file_name"] for image in truth["images"]]
    evaluator.update([image["id"] for image in truth["images"]], model.predict(paths))
    assert evaluator.compute()["top1_localization"] == pytest.approx(metrics["top1_localization"])

    status, said = detkit_command("predict", "--checkpoint", run, paths[0], "--out", "found", "--score_threshold", "0")
    assert status == 0, said
    entries = json.loads(Path("found/detections.json").read_text())
    assert len(entries) == 2
    assert len(entries[0]["bbox"]) == 4


def test_reports_of_classifiers_and_localizers(trained, folders, detkit_command):
    for model, changes in ((CLASSIFIER, {"root": str(folders)}), (LOCALIZER, {"image_class": "largest"})):
        run = trained(model, "--trainer.max_epochs=1", **changes)
        status, said = detkit_command("report", run, "--data.num_workers=0", "--device=cpu")
        assert status == 0, said
        page = (run / "report.html").read_text()
        assert "All 6 images are shown" in page
        assert ">Confusion</h2>" in page
        shutil.rmtree(run)


def test_a_localizer_is_judged_as_is_asked(trained):
    run = trained(LOCALIZER, "--evaluate=[classification, bbox]", "--trainer.max_epochs=1", image_class="only")
    header = (run / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"val/classification/top1", "val/AP"} <= set(header)
    assert "val/localization/top1_localization" not in header


@pytest.mark.parametrize(
    ("model", "changes", "words"),
    [
        (CLASSIFIER, {}, ["data.image_class", "largest or only"]),
        (LOCALIZER, {"root": "FOLDERS"}, ["no object of its class"]),
        ({"class_path": "tiny_detector.TinyDetector"}, {"root": "FOLDERS"}, ["no boxes", "train a Classifier"]),
        (CLASSIFIER, {"image_class": "only", "evaluate": ["bbox"]}, ["evaluate names bbox", "classification"]),
        (CLASSIFIER, {"image_class": "first"}, ["image_class", "largest"]),
    ],
    ids=["objects", "folders", "detector", "evaluate", "image_class"],
)
def test_data_that_does_not_fit_the_task(recipe, detkit_command, folders, one_object, model, changes, words):
    changes = {"root": str(one_object), **changes}
    if changes["root"] == "FOLDERS":
        changes["root"] = str(folders)
    evaluate = {"evaluate": changes.pop("evaluate")} if "evaluate" in changes else {}
    status, said = detkit_command("train", "--config", recipe(model=model, data=changes, **evaluate))
    assert status == 2
    assert not [word for word in words if word not in said], said
    assert said.count("\n") == 1


def test_options_of_detectors_are_refused(trained, folders, detkit_command):
    run = trained(CLASSIFIER, "--trainer.max_epochs=1", root=str(folders))
    for option in (("--iou_type", "segm"), ("--errors",), ("--protocol", "voc2007"), ("--save_detections", "d.json")):
        status, said = detkit_command("eval", "--checkpoint", run, *option)
        assert status == 2
        assert option[0] in said
    shutil.rmtree(run)


def test_a_detector_is_confused_with_the_background(run_folder, detkit_command):
    command = ("eval", "--checkpoint", run_folder, "--trust", "tiny_detector", "--confusion", "confusion.csv")
    status, said = detkit_command(*command)
    assert status == 0, said
    header, *rows = Path("confusion.csv").read_text().splitlines()
    assert header.endswith(",background")
    assert len(rows) == 8


def test_confusion_is_not_for_other_metrics(run_folder, detkit_command):
    run = ("eval", "--checkpoint", run_folder, "--trust", "tiny_detector")
    status, said = detkit_command(*run, "--protocol", "voc2010", "--confusion", "confusion.csv")
    assert status == 2
    assert "--confusion is for COCO's evaluation" in said
    assert said.count("\n") == 1
