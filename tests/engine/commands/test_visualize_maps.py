"""``detkit visualize`` on label maps and panoptic maps."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from detkit.engine.checkpoint import build_model, save_model
from detkit.structures import Category

CATEGORIES = [Category(1, "disc"), Category(2, "sky", is_thing=False), Category(3, "sand", is_thing=False)]
UNET = {
    "class_path": "UNet",
    "init_args": {
        "backbone": {"class_path": "UNetEncoder", "init_args": {"width": 0.0625, "padded": True}},
        "num_classes": 3,
    },
}
WITH_OBJECTS = {
    "class_path": "UNet",
    "init_args": {
        **UNET["init_args"],
        "objects": {"class_path": "ConnectedObjects"},
        "inference": {"class_path": "SlidingWindow", "init_args": {"size": [32, 32], "stride": [16, 16]}},
    },
}
PANOPTIC = {
    "class_path": "PanopticFPN",
    "init_args": {
        "backbone": {"class_path": "TorchvisionBackbone", "init_args": {"name": "resnet18"}},
        "num_classes": 3,
        "neck": {"class_path": "FPN", "init_args": {"out_channels": 16}},
        "box_head": {
            "class_path": "BoxHead",
            "init_args": {
                "trunk": {"class_path": "TwoFullyConnected", "init_args": {"hidden": 16}},
                "postprocess": {"class_path": "NMS", "init_args": {"score_threshold": 0.0}},
            },
        },
        "mask_head": {"class_path": "MaskHead", "init_args": {"channels": 8}},
        "semantic_head": {"class_path": "StuffHead", "init_args": {"hidden": 16, "groups": 4}},
        "preprocess": {"class_path": "ShortestEdge", "init_args": {"min_size": 64, "max_size": 96}},
    },
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The path of a checkpoint of each model."""
    paths = {}
    for name, config in (("UNet", UNET), ("with objects", WITH_OBJECTS), ("PanopticFPN", PANOPTIC)):
        torch.manual_seed(0)
        model = build_model(config, (), "")
        model.categories = CATEGORIES
        paths[name] = tmp_path_factory.mktemp("runs") / f"{name}.ckpt"
        save_model(model, config, paths[name])
    return paths


@pytest.fixture(autouse=True)
def image_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("a.png", np.random.default_rng(0).integers(0, 255, (50, 60, 3), dtype=np.uint8))


@pytest.mark.parametrize("name", ["UNet", "with objects", pytest.param("PanopticFPN", marks=pytest.mark.slow)])
def test_the_prediction_is_explained(saved, detkit_command, name):
    status, said = detkit_command(
        "visualize", "--checkpoint", saved[name], "a.png", "--count", "2", "--square", "25", "--step", "25"
    )
    assert status == 0, said
    image = cv2.imread("views.png")
    assert image.shape[1] == 1290
    assert image.shape[0] > 360 + 3 * 2 * 161  # the images, and two squares for each of at least three stages


def test_a_class_that_is_not_there(saved, detkit_command):
    seen = set()
    for category in CATEGORIES:
        status, said = detkit_command(
            "visualize",
            "--checkpoint",
            saved["UNet"],
            "a.png",
            "--category",
            category.name,
            "--square",
            "50",
            "--count=1",
        )
        seen.add(status)
        assert status == 0 or f"finds no {category.name} in a.png" in said
    assert 0 in seen


@pytest.mark.parametrize(("out", "message"), [("a.png/views.png", "a.png"), ("folder.png", "folder.png")])
def test_the_file_is_checked_before_the_work(saved, detkit_command, monkeypatch, out, message):
    def never(*_):
        raise AssertionError

    monkeypatch.setattr("detkit.engine.commands.explanation.explaining._model", never)
    Path("folder.png").mkdir()
    status, said = detkit_command("visualize", "--checkpoint", saved["UNet"], "a.png", "--out", out)
    assert status == 2
    assert message in said
    assert "Traceback" not in said
