"""The cells of docs/tutorials/own_images.ipynb run one after another in a new process, on few images for an epoch."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "docs" / "tutorials" / "own_images.ipynb"
CELLS = json.loads(NOTEBOOK.read_text())["cells"]
SHORTER = {'"train": 400, "val": 40': '"train": 24, "val": 4', "epochs=8": "epochs=1"}


def test_it_holds_no_outputs():
    code = [cell for cell in CELLS if cell["cell_type"] == "code"]
    assert len(code) >= 6
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


def test_its_links_have_targets():
    text = "".join("".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "markdown")
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    assert links
    assert [link for link in links if not (NOTEBOOK.parent / link).exists()] == []


@pytest.mark.slow
def test_its_cells_run(tmp_path):
    text = "\n".join("".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code")
    for there, here in SHORTER.items():
        assert there in text
        text = text.replace(there, here)
    (tmp_path / "cells.py").write_text(f"def cells():\n{_indented(text)}\n\nif __name__ == '__main__':\n    cells()\n")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "cells.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "24 images of ['disc', 'box'" in done.stdout
    assert re.search(r"^AP 0\.\d+, AP50 0\.\d+$", done.stdout, re.MULTILINE)
    assert (tmp_path / "shapes.ckpt").exists()


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" if line else "" for line in text.splitlines())
