"""What ``detkit predict`` writes has the numbers of the model itself, whatever ids the annotations give."""

import json
import random
import shutil

import pytest
import torch
from tiny_detector import TinyDetector

import detkit
from detkit.data import CocoDataset, VocDataset, YoloDataset
from detkit.data.conversion import convert
from detkit.evaluation import CocoEvaluator, VocEvaluator
from detkit.structures import Detections, Target

TRUST = ("--trust", "tiny_detector")


@pytest.fixture
def predict(run_folder, detkit_command, tmp_path):
    """Runs the command with all detections; gives the file."""

    def run(*inputs):
        argv = ("--checkpoint", run_folder, *TRUST, "--score_threshold", "0", "--out", "found")
        status, said = detkit_command("predict", *inputs, *argv)
        assert status == 0, said
        return tmp_path / "found" / "detections.json"

    return run


@pytest.fixture
def annotations(shapes_root, tmp_path):
    """Annotations of all images with ids that say nothing, in an order that says nothing."""
    content = json.loads((shapes_root / "annotations" / "instances_val.json").read_text())
    ids = dict(zip([image["id"] for image in content["images"]], (17, 5, 900, 2, 1), strict=True))
    content["images"] = [image | {"id": ids[image["id"]]} for image in content["images"]]
    content["annotations"] = [one | {"image_id": ids[one["image_id"]]} for one in content["annotations"]]
    random.Random(0).shuffle(content["images"])
    random.Random(0).shuffle(content["annotations"])
    path = tmp_path / "shuffled.json"
    path.write_text(json.dumps(content))
    return path


def detector(noise):
    """Answers of a model: the objects of all images as drawn, moved by up to `noise` pixels."""

    def detect(self, images):
        answers = []
        for image in images:
            target = TARGETS[image.cpu().numpy().tobytes()]
            random = torch.Generator().manual_seed(len(target.boxes))
            boxes = target.boxes + noise * torch.rand(target.boxes.shape, generator=random)
            answers.append(Detections(boxes, torch.rand(len(boxes), generator=random), target.labels))
        return answers

    return detect


TARGETS: dict[bytes, Target] = {}


@pytest.fixture
def good_detector(shapes_root, monkeypatch):
    """The tiny detector, with an AP of about 0.5."""
    dataset = CocoDataset(shapes_root / "images" / "val", shapes_root / "annotations" / "instances_val.json")
    TARGETS.update((image.numpy().tobytes(), target) for image, target in dataset)
    monkeypatch.setattr(TinyDetector, "detect", detector(noise=4))


@pytest.mark.usefixtures("good_detector")
def test_perfect_boxes_have_an_ap_of_1(predict, annotations, shapes_root, detkit_command, monkeypatch, tmp_path):
    monkeypatch.setattr(TinyDetector, "detect", detector(noise=0))
    found = predict(shapes_root / "images" / "val")
    status, said = detkit_command("eval", "--annotations", annotations, "--detections", found, "--out", "metrics.json")
    assert status == 0, said
    assert json.loads((tmp_path / "metrics.json").read_text())["bbox"]["AP"] == 1.0

    entries = json.loads(found.read_text())
    ids = {image["file_name"]: image["id"] for image in json.loads(annotations.read_text())["images"]}
    own = ids[entries[0]["file_name"].rpartition("/")[2]]
    entries[0]["image_id"] = next(other for other in ids.values() if other != own)
    found.write_text(json.dumps(entries))
    status, said = detkit_command("eval", "--annotations", annotations, "--detections", found)
    assert status == 2
    assert "contradict" in said


@pytest.mark.usefixtures("good_detector")
def test_all_numbers_are_those_of_the_model(predict, annotations, run_folder, shapes_root, detkit_command, tmp_path):
    """To the digit: boxes and scores are written with all their digits."""
    root = tmp_path / "root"
    shutil.copytree(shapes_root / "images", root / "images")
    (root / "annotations").mkdir()
    shutil.copy(annotations, root / "annotations" / "instances_val.json")
    found = predict(shapes_root / "images" / "val")
    of_model = ("--checkpoint", run_folder, *TRUST, "--data.root", root, "--out", "model.json")
    of_file = ("--annotations", annotations, "--detections", found, "--out", "file.json")
    for argv in (of_model, of_file):
        status, said = detkit_command("eval", "--per_class", *argv)
        assert status == 0, said
    numbers = json.loads((tmp_path / "file.json").read_text())
    assert numbers == json.loads((tmp_path / "model.json").read_text())
    assert 0.2 < numbers["bbox"]["AP"] < 0.9


@pytest.mark.usefixtures("good_detector")
@pytest.mark.parametrize(("form", "read"), [("voc", VocDataset), ("yolo", YoloDataset)])
def test_data_in_other_forms(predict, shapes_root, run_folder, form, read, tmp_path):
    convert(shapes_root, tmp_path / form, form)
    dataset = read(tmp_path / form, "val")
    found = predict(*(dataset.images_path / image["file_name"] for image in dataset.ground_truth()["images"]))
    model = detkit.load(run_folder, trust=["tiny_detector"])
    for kind in (CocoEvaluator, VocEvaluator):
        of_file, of_model = (kind(dataset.ground_truth(), categories=model.categories) for _ in range(2))
        of_file.read(found)
        of_model.update([target for _, target in dataset], [model.predict(image) for image, _ in dataset])
        assert of_file.compute() == of_model.compute()
        assert of_file.compute()[of_file.headline] > 0.2
