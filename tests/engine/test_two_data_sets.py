"""A panoptic model trained from a config on two folders: one has boxes and masks, the other label maps alone."""

import contextlib
import csv
import json
import shutil
from pathlib import Path

import pytest
import yaml

from detkit.data import draw_shapes
from detkit.data.shapes.options import ShapesOptions
from detkit.engine.cli import main

RECIPE = Path(__file__).parents[2] / "configs" / "panoptic_fpn_shapes.yaml"


def draw(root, seed):
    options = ShapesOptions(
        {"train": 12, "val": 4}, (64, 80), names=("disc", "box"), stuff=("sky", "sand"),
        max_objects=3, min_object_size=16, contrast=140, noise=2, seed=seed,
    )  # fmt: skip
    return draw_shapes(root, options)


@pytest.fixture
def roots(tmp_path):
    """A folder of COCO without maps, and one of images with label maps."""
    objects, full, maps = draw(tmp_path / "objects", 1), draw(tmp_path / "full", 2), tmp_path / "maps"
    for found in [*objects.glob("annotations/panoptic_*"), objects / "labels"]:
        shutil.rmtree(found) if found.is_dir() else found.unlink()
    shutil.copytree(full / "images", maps / "images")
    shutil.copytree(full / "labels", maps / "masks")
    listed = json.loads((full / "annotations/instances_train.json").read_text())["categories"]
    classes = [{"name": one["name"], "value": one["id"], "isthing": one.get("isthing", 1)} for one in listed]
    (maps / "classes.json").write_text(json.dumps({"classes": classes}))
    return objects, maps


def recipe(objects, maps):
    content = yaml.safe_load(RECIPE.read_text())
    content["model"]["init_args"]["preprocess"]["init_args"] = {"min_size": 64, "max_size": 96}
    content["data"] = {
        "root": str(objects),
        "val_images": str(objects / "images" / "train"),
        "val_annotations": str(objects / "annotations" / "instances_train.json"),
        "reads": ["label_map"],
        "lacks": ["panoptic_map", "label_map"],
        "sources": [{"name": "maps", "root": str(maps), "lacks": ["boxes", "masks", "panoptic_map"]}],
        "batch_size": 4,
        "num_workers": 0,
    }
    content["schedule"]["init_args"]["warmup_steps"] = 20
    content["learner"] = {"class_path": "JoinedSources", "init_args": {"sources": ["maps"]}}
    content["evaluators"] = [{"class_path": "CocoEvaluator", "init_args": {"iou_type": "segm"}}]
    content["trainer"] |= {
        "max_epochs": 30, "check_val_every_n_epoch": 30, "log_every_n_steps": 1, "accelerator": "cpu",
        "num_sanity_val_steps": 0,
    }  # fmt: skip
    return content


def losses(run):
    """The mean of each loss in the first and in the last ten steps."""
    with (run / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file)]
    found = {}
    for name in rows[0]:
        values = [float(row[name]) for row in rows if name.startswith("train/") and row[name]]
        if values:
            found[name.removeprefix("train/")] = sum(values[:10]) / len(values[:10]), sum(values[-10:]) / 10
    return found


def train_and_evaluate(objects, maps, folder, seed=0):
    """The losses, AP of the objects that were learned, and mean IoU of unseen maps of the other folder."""
    (folder / "two.yaml").write_text(yaml.safe_dump(recipe(objects, maps) | {"seed": seed}))
    with contextlib.chdir(folder):
        assert main(["train", "--config", "two.yaml"]) == 0
        run = Path("runs/two")
        of_maps = ["--data.root", str(maps), "--data.lacks", "[masks, panoptic_map]"]
        argv = ["eval", "--checkpoint", str(run), *of_maps, "--evaluators", "[SemanticEvaluator]"]
        assert main([*argv, "--out", "maps.json"]) == 0
        with (run / "metrics.csv").open() as file:
            precision = [float(row["val/segm/AP"]) for row in csv.DictReader(file) if row["val/segm/AP"]]
        return losses(run), precision[-1], json.loads(Path("maps.json").read_text())["semantic"]["mIoU"]


@pytest.mark.slow
def test_both_heads_learn(roots, tmp_path):
    """Each from the folder that has labels for it."""
    found, precision, iou = train_and_evaluate(*roots, tmp_path)
    for name in ("semantic", "mask"):
        before, after = found[name]
        assert after < 0.6 * before, name
    assert precision > 0.2
    assert iou > 0.3
