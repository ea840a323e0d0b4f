"""The figure of docs/data.md with rendered solids."""

import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).parents[1]


def test_the_tool_draws_that_of_the_page(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["shapes3d_figure.py", "--out", str(tmp_path / "new" / "shapes3d.jpg")])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / "tools" / "shapes3d_figure.py"), run_name="__main__")
    assert end.value.code == 0
    drawn, kept = (cv2.imread(str(path / "shapes3d.jpg")) for path in (tmp_path / "new", ROOT / "docs" / "images"))
    assert drawn.shape == kept.shape
    assert np.abs(drawn.astype(int) - kept).mean() < 1  # fonts differ a little between releases
    assert "(images/shapes3d.jpg)" in (ROOT / "docs" / "data.md").read_text()
