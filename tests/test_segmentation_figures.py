"""The figures of docs/segmentation.md."""

import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
NAMES = ["dilation", "transposed_convolution", "unpooling"]


def test_the_tool_draws_those_of_the_page(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["segmentation_figures.py", "--out", str(tmp_path / "new")])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / "tools" / "segmentation_figures.py"), run_name="__main__")
    assert end.value.code == 0
    assert sorted(path.stem for path in (tmp_path / "new").iterdir()) == NAMES
    for name in NAMES:
        drawn, kept = (cv2.imread(str(folder / f"{name}.png")) for folder in (tmp_path / "new", ROOT / "docs/images"))
        # Fonts differ a little between releases of matplotlib.
        assert drawn.shape == kept.shape
        assert np.abs(drawn.astype(int) - kept).mean() < 3
        assert (ROOT / "docs" / "images" / f"{name}.png").stat().st_size < 60_000
        assert f"images/{name}.png" in (ROOT / "docs" / "segmentation.md").read_text()
