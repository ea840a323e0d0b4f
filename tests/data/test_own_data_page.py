"""The code and the recipes of docs/extend/field.md and dataset.md work as they stand there."""

import json
import sys
from pathlib import Path

import pytest
import torch
import yaml
from extend_pages import write_files

from detkit.data import DataModule, ShapesOptions, draw_shapes
from detkit.engine.cli import main


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A folder with the files of both pages, from which they are imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    write_files(tmp_path, "field.md", "dataset.md")
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_package"]:
        del sys.modules[name]


def test_a_field_is_read_and_moved(package: Path):
    root = draw_shapes(package / "my" / "folder", ShapesOptions({"train": 6, "val": 2}, (48, 64)))
    for path in root.glob("annotations/*.json"):
        content = json.loads(path.read_text())
        for annotation in content["annotations"]:
            annotation["track_id"] = 10 * annotation["id"]
        path.write_text(json.dumps(content))
    from my_package.tracks import Tracked

    options = yaml.safe_load((package / "tracked.yaml").read_text())["data"]["dataset"]["init_args"]
    data = DataModule(dataset=lambda split: Tracked(split, **options), num_workers=1)
    data.read_for({"track_ids"})
    labels = {int(key): int(label) for one in map(data.train_dataset.target, range(6))
              for key, label in zip(one.track_ids, one.labels, strict=True)}  # fmt: skip
    for _, targets in data.train_dataloader():
        for target in targets:
            assert target.labels.tolist() == [labels[key] for key in target.track_ids.tolist()]


def test_a_data_set_trains(package: Path, capfd):
    torch.set_num_threads(1)
    small = ("--data.dataset.init_args.count=2", "--data.num_workers=0", "--trainer.max_epochs=1", "--pictures=0",
             "--trainer.accelerator=cpu", "--trainer.limit_val_batches=1")  # fmt: skip
    preprocess = "{class_path: ShortestEdge, init_args: {min_size: 48, max_size: 64}}"
    faster = (f"--model.init_args.preprocess={preprocess}", "--optimizer.init_args.lr=0.0001")
    status = main(["train", "--config", "squares.yaml", *small, *faster])
    assert status == 0, capfd.readouterr().err
    assert yaml.safe_load((package / "runs/squares/config.yaml").read_text())["data"]["dataset"]["class_path"] == (
        "my_package.squares.Squares"
    )
