"""``detkit visualize`` on a detector and on a bare backbone."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from detkit.engine.checkpoint import build_model, save_model
from detkit.structures import Category

DETECTOR = {
    "class_path": "detkit.models.YOLOv3",
    "init_args": {
        "backbone": {
            "class_path": "detkit.backbones.Darknet53",
            "init_args": {"width": 0.05, "depths": [1, 1, 1, 1, 1]},
        },
        "num_classes": 2,
        "head": {
            "class_path": "detkit.heads.YOLOv3Head",
            "init_args": {"postprocess": {"class_path": "detkit.heads.NMS", "init_args": {"score_threshold": 0.0}}},
        },
        "preprocess": {"class_path": "detkit.preprocess.Letterbox", "init_args": {"size": [64, 96]}},
    },
}
BACKBONE = ("--backbone", "squeezenet1_1", "--square", "112", "--step", "112", "--layers", "[features.4,features.12]")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    model = build_model(DETECTOR, (), "")
    model.categories = [Category(1, "cat"), Category(2, "dog")]
    path = tmp_path_factory.mktemp("runs") / "best.ckpt"
    save_model(model, DETECTOR, path)
    return path


@pytest.fixture(autouse=True)
def image_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    for name, size in (("a.png", (50, 60, 3)), ("b.png", (90, 70, 3)), ("c.png", (120, 130, 3))):
        cv2.imwrite(name, generator.integers(0, 255, size, dtype=np.uint8))


def test_a_detector(checkpoint, detkit_command):
    status, said = detkit_command(
        "visualize", "--checkpoint", checkpoint, "a.png", "b.png", "--category", "dog", "--count", "2", "--step", "5"
    )
    assert status == 0, said
    image = cv2.imread("views.png")
    assert image.shape[1] == 1290
    assert image.shape[0] > 425 + 5 * 2 * 161  # the images, and two squares for each of five stages


def test_a_backbone(detkit_command):
    torch.manual_seed(0)
    status, said = detkit_command(
        "visualize", *BACKBONE, "a.png", "b.png", "c.png", "--filters", "[3,100]", "--out", "new/views.jpg"
    )
    assert status == 0, said
    assert cv2.imread("new/views.jpg").shape[1] == 1290
    assert [path.name for path in Path("new").iterdir()] == ["views.jpg"]


def test_the_option_trunk_of_the_release_before_is_taken(detkit_command, caplog):
    status, said = detkit_command("visualize", "--trunk", *BACKBONE[1:], "a.png", "--category", "tench")
    assert status == 0, said
    assert "--trunk is --backbone now" in caplog.text


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["a.png"], ["either --checkpoint, or --backbone"]),
        ([*BACKBONE, "--checkpoint", "best.ckpt", "a.png"], ["either --checkpoint, or --backbone"]),
        (["--backbone", "squeezenet1_2", "a.png"], ["squeezenet1_2", "squeezenet1_1"]),
        ([*BACKBONE, "none.png"], ["none.png"]),
        ([*BACKBONE, "a.png", "--layers", "[features.99]"], ["features.99", "close to it: features.9"]),
        ([*BACKBONE, "a.png", "--layers", "[classifier.1,classifier.3,fc]"], ["'fc'"]),
        ([*BACKBONE, "a.png", "--filters", "[128]"], ["'features.4' has no filter 128: it has 128"]),
        ([*BACKBONE, "a.png", "--category", "military uniforn"], ["military uniforn", "military uniform"]),
        ([*BACKBONE, "a.png", "--count", "0"], ["--count must be at least 1"]),
        ([*BACKBONE, "a.png", "--square", "300"], ["side must be in 1..224"]),
        ([*BACKBONE, "a.png", "--device", "cudda"], ["--device cudda"]),
        ([*BACKBONE, "a.png", "--out", "views.txt"], ["views.txt", ".png or .jpg"]),
        (["--checkpoint", "CHECKPOINT", "a.png", "--category", "dogs"], ["'dogs'", "close to it: dog"]),
        (["--checkpoint", "CHECKPOINT", "a.png", "--layers", "[head.predict.9]"], ["head.predict.9", "head.predict.0"]),
    ],
    ids=lambda value: " ".join(value[-2:]),
)
def test_wrong_input(checkpoint, detkit_command, argv, words):
    status, said = detkit_command("visualize", *(checkpoint if word == "CHECKPOINT" else word for word in argv))
    assert status == 2
    assert not [word for word in words if word not in said], said
    assert "Traceback" not in said


def test_nothing_found(checkpoint, detkit_command, monkeypatch):
    monkeypatch.setattr("detkit.heads.YOLOv3Head.class_scores", lambda self, logits: torch.zeros_like(logits))
    status, said = detkit_command("visualize", "--checkpoint", checkpoint, "a.png")
    assert status == 2
    assert "finds nothing in a.png" in said
