"""A drawn data set, recipe files, and the command line run in this process."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from recipes import TINY

from detkit.data import ShapesOptions, draw_shapes
from detkit.engine.cli import main

COUNTS = {"train": 12, "val": 5, "test": 4}


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def shapes_root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("data") / "shapes"
    return draw_shapes(root, ShapesOptions(counts=COUNTS, image_size=(48, 64), max_objects=3))


@pytest.fixture
def recipe(tmp_path, shapes_root, monkeypatch):
    """Writes a recipe in an empty working folder; keyword arguments change its sections."""
    monkeypatch.chdir(tmp_path)

    def write(name: str = "tiny", **sections: Any) -> str:
        config = copy.deepcopy(TINY)
        config["data"]["root"] = str(shapes_root)
        for section, value in sections.items():
            both = isinstance(value, dict) and "class_path" not in value and section in config
            config[section] = {**config[section], **value} if both else value
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(config))
        return str(path)

    return write


@pytest.fixture
def detkit_command(capfd):
    """Runs a command; gives its status and what it said on stderr."""

    def run(*argv: str) -> tuple[int, str]:
        capfd.readouterr()
        status = main([str(argument) for argument in argv])
        return status, capfd.readouterr().err

    return run


@pytest.fixture
def run_folder(recipe, detkit_command) -> Path:
    """The folder of a finished run of the tiny detector."""
    status, said = detkit_command("train", "--config", recipe(ema=0.9), "--trainer.max_epochs", "1")
    assert status == 0, said
    return Path("runs/tiny").resolve()
