"""``detkit convert``, and the other commands on what it writes."""

import json

import pytest

from detkit.data import ShapesOptions, draw_shapes
from detkit.engine.cli import main

TRUST = ("--trust", "tiny_detector")


@pytest.fixture(scope="module")
def plain_root(tmp_path_factory):
    """Pictures without crowd regions, which VOC and YOLO do not have."""
    options = ShapesOptions({"train": 6, "val": 4}, (48, 64), max_objects=3, crowd_probability=0, png_fraction=0.5)
    return draw_shapes(tmp_path_factory.mktemp("plain") / "shapes", options)


@pytest.mark.parametrize("to", ["voc", "yolo"])
def test_every_command_on_a_converted_folder(recipe, plain_root, detkit_command, tmp_path, to):
    out, metrics = tmp_path / to, tmp_path / "metrics.json"
    status, said = detkit_command("convert", plain_root, "--to", to, "--out", out)
    assert status == 0, said
    root = out / "data.yaml" if to == "yolo" else out
    status, said = detkit_command("train", "--config", recipe(to), "--data.root", root, "--trainer.max_epochs", "1")
    assert status == 0, said

    numbers = {}
    for folder in (plain_root, root):
        for protocol, key in (("coco", "bbox"), ("voc2007", "voc2007"), ("voc2010", "voc2010")):
            command = ["eval", "--checkpoint", f"runs/{to}", *TRUST, "--data.root", folder, "--out", metrics]
            status, said = detkit_command(*command, "--protocol", protocol)
            assert status == 0, said
            numbers[folder, protocol] = json.loads(metrics.read_text())[key]
    for protocol in ("coco", "voc2007", "voc2010"):
        assert numbers[root, protocol] == pytest.approx(numbers[plain_root, protocol])
    status, said = detkit_command(*command, "--per_class", "--protocol", "voc2007")
    assert status == 0, said
    classes = json.loads(metrics.read_text())["voc2007"]["per_class"]
    assert classes["disc"].keys() == {"AP", "objects", "difficult", "images"}

    if to == "voc":  # which has no list of classes of its own: the model's hold
        (out / "classes.txt").unlink()
        assert detkit_command(*command)[0] == 0

    image = next((out / "images" / "val" if to == "yolo" else out / "JPEGImages").iterdir())
    status, said = detkit_command("predict", "--checkpoint", f"runs/{to}", *TRUST, image, "--out", tmp_path)
    assert status == 0, said


def test_a_file_of_detections_as_voc_judges_it(plain_root, detkit_command, tmp_path):
    annotations = plain_root / "annotations" / "instances_val.json"
    truth = json.loads(annotations.read_text())["annotations"]
    detections = [{key: one[key] for key in ("image_id", "category_id", "bbox")} | {"score": 0.5} for one in truth]
    (tmp_path / "found.json").write_text(json.dumps(detections))
    arguments = ["--annotations", annotations, "--detections", tmp_path / "found.json", "--out", tmp_path / "m.json"]
    status, said = detkit_command("eval", *arguments, "--protocol", "voc2007")
    assert status == 0, said
    assert json.loads((tmp_path / "m.json").read_text()) == {"voc2007": {"mAP": 1.0}}


def test_says_what_it_did_and_what_was_lost(shapes_root, tmp_path, caplog):
    with caplog.at_level("INFO"):
        assert (
            main(["convert", str(shapes_root), "--to", "voc", "--out", str(tmp_path / "voc"), "--splits", "val"]) == 0
        )
    assert "val: 5 images" in caplog.text
    assert "lose their keypoints" in caplog.text


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["ROOT", "--out", "OUT"], ["to must be given"]),
        (["ROOT", "--to", "voc"], ["out must be given"]),
        (["ROOT", "--to", "pascal", "--out", "OUT"], ["to", "coco"]),
        (["ROOT", "--to", "coco", "--out", "OUT"], ["already"]),
        (["ROOT", "--to", "yolo", "--out", "ROOT"], ["holds", "the data to convert"]),
        (["ROOT", "--from", "voc", "--to", "yolo", "--out", "OUT"], ["no VOC folder"]),
        (["nowhere", "--to", "yolo", "--out", "OUT"], ["nowhere"]),
    ],
    ids=" ".join,
)
def test_wrong_input(shapes_root, detkit_command, tmp_path, argv, words):
    places = {"ROOT": str(shapes_root), "OUT": str(tmp_path / "out")}
    status, said = detkit_command("convert", *(places.get(argument, argument) for argument in argv))
    assert status == 2
    assert not [word for word in words if word not in said], said
    assert said.count("\n") == 1, said
    assert not (tmp_path / "out").exists()
