"""Label maps that are evaluated from folders of PNG files."""

import json

import cv2
import numpy as np
import pytest
from drawn_maps import draw_maps

from detkit.engine.cli import main
from detkit.errors import InputError
from detkit.evaluation import SemanticEvaluator


@pytest.fixture
def folders(tmp_path):
    """Random maps as files, and the numbers of the same maps in memory."""
    maps = next(one for seed in range(100) if (one := draw_maps(seed)).classes == 6)
    ids = np.append([category.id for category in maps.categories], 255).astype(np.uint8)
    for folder, endings in (("truth", [".png"] * 4), ("answers", [".png", ".labels.png"] * 2)):
        (tmp_path / folder / "val").mkdir(parents=True)
        for row, ending in enumerate(endings):
            place = tmp_path / folder / ("val" if row < 2 else "")
            cv2.imwrite(str(place / f"{row}{ending}"), ids[maps.pairs[row][folder == "answers"]])
    content = maps.annotations
    for row, entry in enumerate(content["images"]):
        entry["file_name"] = f"val/{row}.jpg"
    (tmp_path / "instances.json").write_text(json.dumps(content))
    evaluator = SemanticEvaluator(content)
    evaluator.update(maps.targets(), maps.answers())
    return tmp_path, content, evaluator.compute()


def test_the_numbers_are_those_of_the_maps(folders):
    root, content, numbers = folders
    evaluator = SemanticEvaluator(content, truth_maps=root / "truth")
    evaluator.read(root / "answers")
    assert evaluator.compute() == numbers


def test_names_with_a_root_are_sought_in_each_folder(folders):
    """The file beside an image would otherwise be both the truth and the answer."""
    root, content, numbers = folders
    for row, entry in enumerate(content["images"]):
        entry["file_name"] = str(root / "truth" / "val" / f"{row}.jpg")
    for folder in ("truth", "answers"):
        for path in (root / folder / "val").iterdir():
            path.rename(root / folder / path.name)
    (root / "truth" / "val" / "0.png").write_bytes((root / "truth" / "0.png").read_bytes())
    evaluator = SemanticEvaluator(content, truth_maps=root / "truth")
    evaluator.read(root / "answers")
    assert evaluator.compute() == numbers


def test_by_the_command(folders, monkeypatch):
    root, _, numbers = folders
    monkeypatch.chdir(root)
    main(
        ["eval", "--annotations", "instances.json", "--detections", "answers", "--out", "metrics.json", "--evaluators",
         "[{class_path: SemanticEvaluator, init_args: {truth_maps: truth}}]", "--confusion", "c.csv", "--per_class",
         "--bootstrap", "5"]
    )  # fmt: skip
    written = json.loads((root / "metrics.json").read_text())["semantic"]
    assert {name: written[name] for name in numbers} == numbers
    assert set(written) == {*numbers, "per_class", "intervals"}
    assert (root / "c.csv").is_file()


def test_what_is_wrong_is_named(folders):
    root, content, _ = folders
    with pytest.raises(InputError, match="give --detections FOLDER"):
        SemanticEvaluator(content).read(root / "answers")
    evaluator = SemanticEvaluator(content, truth_maps=root / "truth")
    with pytest.raises(InputError, match="elsewhere is no folder"):
        evaluator.read(root / "elsewhere")
    (root / "answers" / "val" / "0.png").unlink()
    with pytest.raises(InputError, match=r"answers has no label map of image 0, val/0\.jpg: add val/0\.png"):
        evaluator.read(root / "answers")
    cv2.imwrite(str(root / "answers" / "0.png"), np.full((2, 2), 99, dtype=np.uint8))
    with pytest.raises(InputError, match=r"0\.png: the value 99 in the label map of image 0 is the id of no category"):
        evaluator.read(root / "answers")
    cv2.imwrite(str(root / "answers" / "0.png"), np.zeros((2, 2, 3), dtype=np.uint8))
    with pytest.raises(InputError, match="label map of image 0 is in color"):
        evaluator.read(root / "answers")


def test_images_without_a_true_map_are_left_out(folders, caplog):
    root, content, _ = folders
    (root / "truth" / "2.png").unlink()
    evaluator = SemanticEvaluator(content, truth_maps=root / "truth")
    evaluator.read(root / "answers")
    evaluator.compute()
    assert "1 of 4 images have no label_map, image 20 first" in caplog.text
