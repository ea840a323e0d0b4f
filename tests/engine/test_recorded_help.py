"""The recorded help of ``detkit train`` and ``eval`` is what their parsers say."""

import os
import subprocess
import sys

import pytest

from detkit.engine import recorded_help
from detkit.engine.recorded_help import PARSERS, help_file, versions_now


@pytest.mark.parametrize("command", PARSERS)
def test_it_is_what_the_parser_says(command):
    """In a process of its own, since the parser lists all classes that have been imported."""
    versions, _, text = help_file(command).read_text(encoding="utf-8").partition("\n\n")
    if versions != versions_now():
        pytest.skip(f"recorded with {versions}, here is {versions_now()}")
    module, function = PARSERS[command]
    code = f"from {module} import {function}; print({function}().format_help())"
    environment = {**os.environ, "COLUMNS": "120"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert words(text) == words(done.stdout), "run tools/record_help.py"


def words(text: str) -> list[str]:
    """Without the optimizers, of which each release of torch has others."""
    return [word for word in text.split() if not word.startswith("torch.optim.")]


@pytest.mark.parametrize(
    "argv", [["train", "--help"], ["train", "-h"], ["train", "ssd_shapes", "--help"], ["eval", "--help"]]
)
def test_it_is_shown_where_versions_agree(argv, monkeypatch, tmp_path):
    command, *asked = argv
    file = tmp_path / f"{command}.txt"
    file.write_text(f"{versions_now()}\n\nusage: detkit\n")
    monkeypatch.setattr(recorded_help, "FOLDER", tmp_path)
    assert recorded_help.recorded_help(command, asked) == "usage: detkit\n"
    file.write_text("lightning 0.1, jsonargparse 4.0\n\nusage: of then\n")
    assert recorded_help.recorded_help(command, asked) is None


@pytest.mark.parametrize("argv", [[], ["--model.help", "FCOS"], ["--name", "a", "--help"], ["ssd_shapes"]])
@pytest.mark.parametrize("command", PARSERS)
def test_it_is_not_shown_for_anything_else(command, argv):
    assert recorded_help.recorded_help(command, argv) is None
