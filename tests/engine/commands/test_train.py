import csv
import errno
import os
from pathlib import Path

import pytest
import torch
import yaml
from recipes import FASTER_RCNN
from tiny_detector import TinyDetector

import detkit
from detkit.data import ShapesOptions, draw_shapes
from detkit.engine.checkpoint import read_checkpoint
from detkit.engine.cli import main


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_its_files(recipe, detkit_command):
    status, said = detkit_command("train", "--config", recipe(pictures=2, validation_loss=True, ema=0.9))
    assert (status, said) == (0, "")
    folder = Path("runs/tiny")
    names = {path.name for path in folder.iterdir()}
    assert {"best.ckpt", "last.ckpt", "metrics.csv", "config.yaml", "pictures"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    assert len(names) == 6
    assert {path.name for path in (folder / "pictures").iterdir()} == {"epoch_001.png", "epoch_002.png"}

    logged = rows(folder)
    training = [row for row in logged if row["train/loss"]]
    assert [int(row["step"]) for row in training] == list(range(12))
    for row in training:
        assert float(row["train/loss"]) == pytest.approx(float(row["train/cls"]) + float(row["train/box"]), rel=1e-5)
    validation = [row for row in logged if row["val/AP"]]
    assert len(validation) == 2
    assert {"val/AP50", "val/AR100", "val/loss", "val/cls", "val/box", "lr"} <= logged[0].keys()


def test_the_last_line_says_what_to_do_with_the_model(recipe, capfd):
    assert main(["train", "--config", str(recipe(name="it's mine"))]) == 0
    last = capfd.readouterr().out.strip().splitlines()[-1]
    assert last.startswith("wrote runs/it's mine/best.ckpt; next: detkit eval --checkpoint 'runs/it'\"'\"'s mine'")


def test_a_checkpoint_rebuilds_the_averaged_model(run_folder, shapes_root):
    content = torch.load(run_folder / "last.ckpt", weights_only=True)
    model = detkit.load(run_folder, trust=["tiny_detector"])
    assert isinstance(model, TinyDetector)
    assert [category.name for category in model.categories][:2] == ["disc", "box"]
    assert torch.equal(model.box.weight, content["ema"]["model.box.weight"])
    assert not torch.equal(model.box.weight, content["state_dict"]["model.box.weight"])
    assert content["detkit"]["config"]["data"]["root"] == str(shapes_root)
    assert content["detkit"]["version"] == detkit.__version__
    image = next((shapes_root / "images" / "val").iterdir())
    assert len(model.predict(image)) == 1


def test_the_resolved_config_trains_the_same(run_folder, detkit_command):
    resolved = yaml.safe_load((run_folder / "config.yaml").read_text())
    assert resolved["trainer"]["max_epochs"] == 1
    assert resolved["optimizer"]["init_args"]["momentum"] == 0.9
    assert "num_classes" not in resolved["model"]["init_args"]
    status, said = detkit_command("train", "--config", run_folder / "config.yaml", "--name", "again")
    assert status == 0, said
    first, again = (
        read_checkpoint(folder)["state_dict"] for folder in (run_folder / "last.ckpt", "runs/again/last.ckpt")
    )
    assert all(torch.equal(value, again[name]) for name, value in first.items())


def test_a_run_is_not_overwritten_unasked(run_folder, recipe, detkit_command):
    before = (run_folder / "last.ckpt").read_bytes()
    status, said = detkit_command("train", "--config", recipe())
    assert status == 2
    assert "runs/tiny already holds a run" in said
    assert "--resume runs/tiny" in said
    status, said = detkit_command("train", "--config", recipe(), "--overwrite", "--data.root", "nowhere")
    assert status == 2
    assert (run_folder / "last.ckpt").read_bytes() == before  # wrong input costs nothing
    status, said = detkit_command("train", "--config", recipe(), "--overwrite", "--trainer.max_epochs", "1")
    assert status == 0, said
    assert (run_folder / "last.ckpt").read_bytes() != before


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_precision_clipping_and_accumulation(recipe, detkit_command, precision):
    if precision == "16-mixed" and not torch.cuda.is_available():
        pytest.skip("float16 needs a GPU")
    trainer = {"precision": precision, "gradient_clip_val": 0.1, "accumulate_grad_batches": 4, "max_epochs": 1}
    trainer["accelerator"] = "auto"
    status, said = detkit_command("train", "--config", recipe(trainer=trainer, ema=0.9))
    assert status == 0, said
    assert read_checkpoint("runs/tiny/last.ckpt")["global_step"] == 2  # 6 batches: four, and the rest


def test_boxes_stay_float32(recipe, detkit_command):
    status, said = detkit_command("train", "--config", recipe(), "--trainer.precision", "bf16-true")
    assert status == 2
    assert "trainer.precision is bf16-true: choose one of 32-true, bf16-mixed" in said


def test_faster_rcnn_in_bfloat16(recipe, detkit_command):
    path = recipe(model=FASTER_RCNN, trainer={"precision": "bf16-mixed", "limit_train_batches": 2, "max_epochs": 1})
    status, said = detkit_command("train", "--config", path)
    assert status == 0, said
    assert {"train/rpn_cls", "train/rpn_box", "train/box_cls", "train/box_reg"} <= rows(Path("runs/tiny"))[0].keys()


def test_weights_to_start_from(run_folder, recipe, detkit_command, tmp_path):
    root = draw_shapes(tmp_path / "more", ShapesOptions(counts={"train": 4, "val": 2}, image_size=(48, 64)))
    path = recipe("other", start_from=str(run_folder), optimizer={"class_path": "SGD", "init_args": {"lr": 0.0}})
    status, said = detkit_command("train", "--config", path, "--data.root", root)
    assert status == 0, said
    started = read_checkpoint(run_folder / "best.ckpt")["ema"]
    assert torch.equal(
        read_checkpoint("runs/other/last.ckpt")["state_dict"]["model.box.weight"], started["model.box.weight"]
    )


def test_a_loss_that_is_not_finite_ends_the_run_and_leaves_the_last_checkpoint(recipe, detkit_command, monkeypatch):
    losses, calls = TinyDetector.compute_losses, []

    def spoilt(self, images, targets):
        calls.append(targets[0].image_id)
        result = losses(self, images, targets)
        return result if len(calls) <= 8 else {**result, "box": result["box"] * float("nan")}

    monkeypatch.setattr(TinyDetector, "compute_losses", spoilt)
    status, said = detkit_command("train", "--config", recipe())
    assert status == 2
    assert "Loss box is not finite at step 8" in said
    assert f"images {calls[8]}" in said
    content = read_checkpoint("runs/tiny/last.ckpt")
    assert content["global_step"] == 6
    assert all(value.isfinite().all() for value in content["state_dict"].values())


def test_a_full_disk_ends_the_run_and_leaves_the_last_checkpoint(recipe, detkit_command, monkeypatch):
    save, saved = torch.save, []

    def full(content, file):
        saved.append(content["global_step"])
        if len(saved) > 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(content, file)

    monkeypatch.setattr(torch, "save", full)
    status, said = detkit_command("train", "--config", recipe())
    assert status == 2
    assert "ckpt could not be written" in said
    assert "No space left" in said
    assert saved[:2] == [6, 6]
    assert read_checkpoint("runs/tiny/last.ckpt")["global_step"] == 6
    assert not [name for name in os.listdir("runs/tiny") if name.startswith(".")]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_image_is_one_sentence(recipe, detkit_command, tmp_path, workers):
    root = draw_shapes(tmp_path / "broken", ShapesOptions(counts={"train": 2, "val": 2}, image_size=(48, 64)))
    image = min((root / "images" / "train").iterdir())
    image.write_bytes(image.read_bytes()[:200])
    path = recipe(data={"root": str(root), "num_workers": workers})
    status, said = detkit_command("train", "--config", path)
    assert status == 2
    assert said.count("\n") == 1
    assert image.name in said


def test_mixing_is_set_in_the_recipe(recipe, detkit_command):
    mosaic = {"class_path": "Mosaic", "init_args": {"size": [64, 64]}}
    mixing = {"mixing": [{"class_path": "CopyPaste"}, mosaic, {"class_path": "MixUp"}], "mixing_epochs": 1}
    path = recipe(data=mixing)
    status, said = detkit_command("train", "--config", path, "--trainer.max_epochs", "2")
    assert status == 0, said
    status, said = detkit_command("eval", "--checkpoint", "runs/tiny", "--trust", "tiny_detector")
    assert status == 0, said
    assert "masks" not in Path("runs/tiny/config.yaml").read_text()  # CopyPaste itself says that it needs them
