"""Label maps of an inspected folder: their pixels are counted, wrong ones are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from image_files import noise, write_image
from planted_data import inspected


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three images with maps, a fourth of whose pixels is of the second class."""
    label_map = np.zeros((20, 40), np.uint8)
    label_map[:, 30:] = 1
    for split in ("train", "val"):
        for number in range(3):
            write_image(tmp_path / "images" / split / f"{number}.png", noise(20, 40, number + 3 * (split == "val")))
            write_image(tmp_path / "masks" / split / f"{number}.png", label_map)
    (tmp_path / "classes.txt").write_text("background\nthing\n")
    return tmp_path


def test_the_pixels_of_each_class_are_counted(root):
    inspection = inspected(root)
    assert not inspection.problems
    tables = {table.name: table for table in inspection.tables}
    assert "classes" not in tables
    assert tables["label_maps"].columns == [
        "class", "% of train pixels", "train maps", "% of val pixels", "val maps",
    ]  # fmt: skip
    assert tables["label_maps"].rows == [
        ["background", 75.0, 3, 75.0, 3], ["thing", 25.0, 3, 25.0, 3], ["(no class)", 0.0, 0, 0.0, 0],
    ]  # fmt: skip
    assert tables["splits"].rows == [["train", 3], ["val", 3]]


def test_all_wrong_maps_are_named(root):
    write_image(root / "masks/train/0.png", np.zeros((10, 20), np.uint8))
    write_image(root / "masks/train/2.png", np.full((20, 40), 7, np.uint8))
    (problem,) = inspected(root).problems
    assert (problem.name, problem.level, problem.split, problem.count) == ("wrong_maps", "error", "train", 2)
    assert "masks/train/0.png" in problem.examples[0]
    assert "the value 7" in problem.examples[1]


def test_masks_of_0_and_255(root):
    for path in root.glob("masks/*/*.png"):
        mask = np.zeros((20, 40), np.uint8)
        mask[:, 30:] = 255
        write_image(path, mask)
    problems = inspected(root).problems
    assert [(one.name, one.split) for one in problems] == [("useless_maps", "train"), ("useless_maps", "val")]
    assert "255 means no class" in problems[0].advice
