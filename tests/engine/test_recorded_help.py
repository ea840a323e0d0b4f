"""The recorded help of ``detkit train`` is what its parser says."""

import os
import subprocess
import sys

import pytest

from detkit.engine import recorded_help
from detkit.engine.recorded_help import FILE, versions_now

REAL = "from detkit.engine.commands.train import train_parser; print(train_parser().format_help())"


def test_it_is_what_the_parser_says():
    """In a process of its own, since the parser lists all classes that have been imported."""
    versions, _, text = FILE.read_text(encoding="utf-8").partition("\n\n")
    if versions != versions_now():
        pytest.skip(f"recorded with {versions}, here is {versions_now()}")
    environment = {**os.environ, "COLUMNS": "120"}
    done = subprocess.run([sys.executable, "-c", REAL], capture_output=True, text=True, check=True, env=environment)
    assert words(text) == words(done.stdout), "run tools/record_help.py"


def words(text: str) -> list[str]:
    """Without the optimizers, of which each release of torch has others."""
    return [word for word in text.split() if not word.startswith("torch.optim.")]


@pytest.mark.parametrize("argv", [["--help"], ["-h"], ["ssd_shapes", "--help"]])
def test_it_is_shown_where_versions_agree(argv, monkeypatch, tmp_path):
    (tmp_path / "train.txt").write_text(f"{versions_now()}\n\nusage: detkit train\n")
    monkeypatch.setattr(recorded_help, "FILE", tmp_path / "train.txt")
    assert recorded_help.recorded_help(argv) == "usage: detkit train\n"
    (tmp_path / "train.txt").write_text("lightning 0.1, jsonargparse 4.0\n\nusage: of then\n")
    assert recorded_help.recorded_help(argv) is None


@pytest.mark.parametrize("argv", [[], ["--model.help", "FCOS"], ["--name", "a", "--help"], ["ssd_shapes"]])
def test_it_is_not_shown_for_anything_else(argv):
    assert recorded_help.recorded_help(argv) is None
