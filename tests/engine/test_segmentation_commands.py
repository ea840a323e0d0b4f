"""All commands on a segmentation model: what they say, draw and write of label maps."""

import contextlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image

import detkit
from detkit.data import ShapesOptions, draw_shapes
from detkit.data.layouts.contents import describe_data, warnings_about_data
from detkit.engine.cli import main
from detkit.engine.commands.train import training_arguments
from detkit.engine.config.recipe import build_recipe
from detkit.images import read_video
from detkit.results import label_png
from detkit.structures import SemanticMap

NAMES, STUFF = ("disc", "box"), ("sky", "grass")
MODEL = {
    "class_path": "SegmentationModel",
    "init_args": {
        "backbone": {"class_path": "DarknetTiny", "init_args": {"width": 0.25, "stages": [2, 3]}},
        "head": "FCNHead",
    },
}


@pytest.fixture(scope="module")
def maps_root(tmp_path_factory) -> Path:
    options = ShapesOptions(
        {"train": 8, "val": 4}, (32, 48), names=NAMES, stuff=STUFF, max_objects=2, min_object_size=12, noise=2
    )
    return draw_shapes(tmp_path_factory.mktemp("data") / "maps", options)


@pytest.fixture(scope="module")
def config(maps_root, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "maps.yaml"
    content = {
        "model": MODEL,
        "data": {"root": str(maps_root), "num_workers": 0, "batch_size": 4, "aspect_ratio_grouping": False},
        "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.003}},
        "pictures": 1,
        "trainer": {"max_epochs": 2, "accelerator": "cpu", "log_every_n_steps": 1, "num_sanity_val_steps": 0},
    }
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture(scope="module")
def run(config, tmp_path_factory) -> Path:
    """The folder of a run."""
    folder = tmp_path_factory.mktemp("work")
    with contextlib.chdir(folder):
        assert main(["train", "--config", str(config)]) == 0
    return folder / "runs" / "maps"


@pytest.fixture
def image(maps_root) -> Path:
    return sorted((maps_root / "images" / "val").iterdir())[0]


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_training_draws_truth_and_answer_side_by_side(run):
    drawn = cv2.imread(str(run / "pictures" / "epoch_002.png"))
    assert drawn is not None
    assert drawn.std() > 0


def test_what_a_training_says_of_the_data(run, config):
    data = build_recipe(training_arguments([f"--config={config}"])).data
    lines, warnings = describe_data(data), list(warnings_about_data(data))
    assert "8 images of" in lines[0]
    assert " with label maps, " in lines[0]
    assert " in 4 classes; " in lines[0]
    assert not warnings  # stuff classes have no objects, but pixels


def test_evaluation_and_report(run, detkit_command):
    status, said = detkit_command("eval", "--checkpoint", run, "--out", "metrics.json")
    assert status == 0, said
    metrics = json.loads(Path("metrics.json").read_text())["semantic"]
    status, said = detkit_command("report", run, "--bootstrap=0", "--out", "report.html")
    assert status == 0, said
    page = Path("report.html").read_text()
    assert f"{100 * metrics['mIoU']:.1f}" in page
    assert ">Worst images</h2>" in page
    assert page.count("data:image/jpeg") == 3 * 4


def test_comparison(run, detkit_command):
    files = (run / "best.ckpt", run / "last.ckpt")
    status, said = detkit_command("compare", *files, "--bootstrap=5", "--out", "compare.json")
    assert status == 0, said
    assert "mIoU" in Path("compare.json").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["maps.pt2", "maps.onnx"])
def test_exported_files_are_certified(run, name, detkit_command):
    if name.endswith("onnx"):
        pytest.importorskip("onnxruntime")
    status, said = detkit_command("export", run, "--out", name)
    assert status == 0, said
    status, said = detkit_command("verify", name, "--checkpoint", run, "--bootstrap=5", "--out", "certificate.json")
    assert status == 0, said
    (file,) = json.loads(Path("certificate.json").read_text())["files"]
    assert file["certified"]
    assert file["answers"]["counts"]["of another class"] == 0
    assert list(json.loads(file["metadata"]["detkit.outputs"])) == ["label_map", "logits"]


@pytest.mark.slow
def test_the_doctor_finds_nothing(config, detkit_command):
    detkit_command("doctor", "--config", config, "--out", "doctor.json", "--skip=memory", "--skip=workers")
    checks = json.loads(Path("doctor.json").read_text())["checks"]
    assert {name for name, one in checks.items() if one["verdict"] == "failed"} == set()
    stages = {one["stage"]: one for one in checks["round_trip"]["numbers"]["stages"]}
    assert stages["evaluation"]["semantic"] == 1
    assert stages["decoding"]["semantic"] > 0.6  # cells of 8 pixels in images of 32


def test_a_served_label_map_is_that_of_predict(run, image):
    pytest.importorskip("fastapi")
    from fastapi.testclient import TestClient

    from detkit.serving import application

    model = detkit.load(run)
    files = [("images", (image.name, image.read_bytes()))]
    client = TestClient(application(model))
    answer = client.post("/predict?file=labels.png", files=files)
    assert answer.headers["content-type"] == "image/png"
    expected = label_png(model.predict(image), model.categories)
    assert answer.content == expected
    assert client.post("/predict", files=files).json()["images"][0]["results"][0]["pixels"] > 0
    refused = client.post("/predict?file=masks.png", files=files)
    assert refused.status_code == 422
    assert "'masks.png' is no file of the task segmentation, which has labels.png" in refused.json()["detail"]


class TestPredict:
    def test_label_maps_are_read_back_as_they_were_predicted(self, run, image, maps_root, detkit_command):
        status, said = detkit_command("predict", "--checkpoint", run, image.parent, "--out", "found")
        assert status == 0, said
        model = detkit.load(run)
        ids = np.array([one.id for one in model.categories])
        paths = sorted(image.parent.iterdir())
        entries = json.loads(Path("found/label_maps.json").read_text())
        for path, answer in zip(paths, model.predict(paths), strict=True):
            with Image.open(f"found/{path.stem}.labels.png") as written:
                assert written.mode == "P"
                assert np.array_equal(np.array(written), ids[answer.label_map.numpy()])
                assert (Path("found") / path.name).is_file()
            own = {one["category_id"]: one["pixels"] for one in entries if one["file_name"] == str(path)}
            assert own == {ids[label]: count for label, count in answer.pixels().items()}
            assert sum(own.values()) == answer.label_map.numel()

    def test_other_files_on_request(self, run, image, detkit_command):
        files = ("--files", "colors.png", "polygons.geojson")
        status, said = detkit_command("predict", "--checkpoint", run, image, "--out", "found", *files)
        assert status == 0, said
        names = {path.name.removeprefix(image.stem) for path in Path("found").iterdir()}
        assert names == {"label_maps.json", image.suffix, ".colors.png", ".polygons.geojson"}
        found = json.loads(Path(f"found/{image.stem}.polygons.geojson").read_text())
        height, width = cv2.imread(str(image)).shape[:2]
        assert sum(one["properties"]["pixels"] for one in found["features"]) == height * width

    def test_a_file_that_there_is_not(self, run, image, detkit_command):
        status, said = detkit_command("predict", "--checkpoint", run, image, "--out", "found", "--files", "masks.png")
        assert status == 2
        assert "--files masks.png: predictions of the task segmentation have labels.png, colors.png" in said

    def test_a_video(self, run, detkit_command):
        writer = cv2.VideoWriter("walk.mp4", cv2.VideoWriter.fourcc(*"mp4v"), 10, (48, 32))
        for frame in range(2):
            writer.write(np.full((32, 48, 3), 90 * frame, np.uint8))
        writer.release()
        status, said = detkit_command("predict", "--checkpoint", run, "walk.mp4", "--out", "found")
        assert status == 0, said
        assert len(list(read_video("found/walk.mp4"))) == 2
        assert sorted(path.name for path in Path("found").glob("*.png")) == [
            "walk.000000.labels.png",
            "walk.000001.labels.png",
        ]

    def test_an_answer_is_drawn(self, run, image):
        model = detkit.load(run)
        answer = model.predict(image)
        assert isinstance(answer, SemanticMap)
        assert answer.plot().shape == answer.image.shape
        assert answer.to_numpy()["label_map"].shape == answer.image.shape[:2]
        answer.save("drawn.png")
        assert Path("drawn.png").is_file()


def test_data_without_label_maps_is_refused(config, detkit_command, tmp_path_factory):
    boxes = draw_shapes(tmp_path_factory.mktemp("data") / "boxes", ShapesOptions({"train": 2, "val": 1}, (32, 48)))
    status, said = detkit_command("train", "--config", config, "--data.root", boxes)
    assert status == 2
    assert "no image has a label map" in said
