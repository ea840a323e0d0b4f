"""U-Net on nuclei, from a folder to objects: the recipe trains, is evaluated, and predicts."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_nuclei import draw_nuclei
from scipy import ndimage

import detkit
from detkit.data import InstanceMaps, separation_weights
from detkit.engine.commands.train import training_arguments
from detkit.engine.config.recipe import build_recipe
from detkit.structures import PanopticMap
from detkit.structures.image_fields import INSTANCES

SHORT = (
    "--model.init_args.backbone.init_args.width=0.0625",
    "--data.augmentation.init_args.size=[64,80]", "--data.num_workers=0", "--data.batch_size=4", "--pictures=0",
    "--trainer.accelerator=cpu", "--trainer.num_sanity_val_steps=0", "--trainer.log_every_n_steps=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def nuclei(tmp_path_factory) -> Path:
    return draw_nuclei(tmp_path_factory.mktemp("data") / "nuclei")


def _train(root: Path, epochs: int, detkit_command, *options: str) -> None:
    lasts = f"--trainer.max_epochs={epochs}", f"--trainer.check_val_every_n_epoch={epochs}"
    status, said = detkit_command("train", "unet_nuclei", f"--data.root={root}", *SHORT, *lasts, *options)
    assert status == 0, said


def test_from_a_folder_to_objects(nuclei, tmp_path, monkeypatch, detkit_command):
    monkeypatch.chdir(tmp_path)
    _train(nuclei, 1, detkit_command)
    with open("runs/unet_nuclei/metrics.csv") as file:
        rows = list(csv.DictReader(file))
    assert all(np.isfinite(float(row["train/cross_entropy"])) for row in rows if row["train/cross_entropy"])
    status, said = detkit_command("eval", "--checkpoint", "runs/unet_nuclei", "--per_class", "--out", "a.json")
    assert status == 0, said
    numbers = json.loads(Path("a.json").read_text())
    assert set(numbers) == {"segm", "semantic"}
    assert set(numbers["semantic"]["per_class"]) == {"background", "nucleus", "border"}
    image = nuclei / "images" / "val001.png"
    status, said = detkit_command("predict", "--checkpoint", "runs/unet_nuclei/last.ckpt", image, "--out", "found")
    assert status == 0, said
    assert {path.name for path in Path("found").iterdir()} >= {"panoptic.json", "val001.panoptic.png"}
    model = detkit.load("runs/unet_nuclei/last.ckpt")
    answer = model.predict(image)
    assert isinstance(answer, PanopticMap)
    assert answer.source.categories[1].name == "nucleus"


def test_what_is_learned_are_maps_borders_and_their_weights(nuclei):
    """Of crops: the weights lie where the borders lie, after scale, mirror and elastic deformation."""
    recipe = build_recipe(training_arguments(["unet_nuclei", f"--data.root={nuclei}", *SHORT]))
    assert recipe.model.learns_from == {"label_map", "pixel_weights"}
    recipe.data.read_for(recipe.model.learns_from)
    images, targets = next(iter(recipe.data.train_dataloader()))
    borders = 0
    for target in targets:
        assert target.label_map.shape == target.pixel_weights.shape == (64, 80)
        known = target.label_map != 255
        is_border = target.label_map == 2
        assert (target.pixel_weights[~known] == 0).all()
        assert (target.pixel_weights[known] >= 1).all()
        assert (target.pixel_weights[is_border] > 5).all()
        borders += int(is_border.sum())
    assert borders > 0
    losses = recipe.model(images, targets)
    plain = recipe.model(images, [target.with_fitting({"pixel_weights": None}) for target in targets])
    assert losses["cross_entropy"] > plain["cross_entropy"]


@pytest.mark.slow
def test_it_tells_touching_nuclei_apart(nuclei, tmp_path, monkeypatch, detkit_command):
    monkeypatch.chdir(tmp_path)
    options = "--data.augmentation=null", "--optimizer.init_args.lr=3e-3", "--ema=null"
    _train(nuclei, 150, detkit_command, *options)
    model = detkit.load("runs/unet_nuclei/last.ckpt")
    data = InstanceMaps("train", nuclei)
    found = parts = objects = 0
    for index in range(len(data)):
        target = data.target(index)
        found += len(model.predict(data.read(index)[0]))
        parts += ndimage.label(target.label_map == 1, np.ones((3, 3)))[1]
        objects += len(target)
    assert parts <= objects - len(data)  # a touching pair in each image
    assert abs(found - objects) < abs(found - parts)


@pytest.fixture(scope="session")
def real_nuclei(shared) -> Path:
    root = shared / "data" / "nuclei"
    if not root.is_dir():
        pytest.skip(f"no nuclei at {root}")
    return root


def test_maps_of_real_nuclei(real_nuclei):
    """Every object keeps a part of its own, so that components of the maps are objects; weights are the paper's."""
    data = InstanceMaps("val", real_nuclei, border=2).reading({"label_map", "panoptic_map", "pixel_weights", "masks"})
    objects = parts = 0
    for index in range(0, len(data), 8):
        target = data.target(index)
        weights = 1 + separation_weights(target.masks)
        torch.testing.assert_close(target.pixel_weights, weights)
        objects += len(target)
        parts += ndimage.label(target.label_map == 1, np.ones((3, 3)))[1]
        kept = target.panoptic_map[target.panoptic_map % INSTANCES > 0].unique()
        assert len(kept) > 0.9 * len(target)
    assert 0.9 * objects < parts < 1.15 * objects
