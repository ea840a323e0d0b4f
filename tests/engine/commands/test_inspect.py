"""``detkit inspect``: what it prints, its status, the page and the JSON file."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from detkit.data import ShapesOptions, draw_shapes
from detkit.engine import cli


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    options = ShapesOptions(counts={"train": 6, "val": 3}, names=("disc", "box"))
    return draw_shapes(tmp_path_factory.mktemp("data") / "shapes", options)


def run(*arguments: object) -> int:
    return cli.run(cli.inspect, [str(one) for one in arguments])


def test_prints_tables_and_that_nothing_is_wrong(folder, capsys):
    assert run(folder) == 0
    shown = capsys.readouterr().out
    assert "Splits" in shown
    assert "Classes" in shown
    assert f"{folder} (coco, 9 images): nothing is wrong" in shown.replace("\n", "")


def test_an_error_is_told_and_is_the_status(folder, tmp_path, capsys):
    root = shutil.copytree(folder, tmp_path / "data")
    name = sorted((root / "images/train").iterdir())[2].name
    (root / "images/train" / name).unlink()
    with pytest.raises(SystemExit) as stopped:
        run(root, "--out", tmp_path / "inspect.json")
    assert stopped.value.code == 1
    shown = capsys.readouterr().out
    assert "error    missing_images: train: 1 image file is not in" in shown
    assert name in shown
    content = json.loads((tmp_path / "inspect.json").read_text())
    assert content["problems"][0]["examples"] == [name]


def test_the_page_holds_problems_tables_and_images(folder, tmp_path):
    assert run(folder, "--out", tmp_path / "inspect.html") == 0
    page = (tmp_path / "inspect.html").read_text()
    assert "Nothing is wrong." in page
    assert 'id="distributions"' in page
    assert page.count("data:image/jpeg") >= 9
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_a_file_that_cannot_be_written_is_told_before_the_images_are_read(folder, tmp_path, detkit_command):
    (tmp_path / "broken.json").mkdir()
    status, said = detkit_command("inspect", tmp_path / "no_folder", "--out", tmp_path / "broken.json")
    assert (status, said.count("\n")) == (2, 1)
    assert "broken.json cannot be written (Is a directory)" in said


def test_files_in_place_of_a_folder(folder, capsys):
    annotations, images = folder / "annotations/instances_train.json", folder / "images/train"
    assert run("--data.train_annotations", annotations, "--data.train_images", images) == 0
    assert "6 images): nothing is wrong" in capsys.readouterr().out.replace("\n", "")


def test_a_recipe_adds_levels_and_augmented_images(folder, tmp_path, capsys):
    assert run(folder, "--recipe", "ssd_shapes", "--previews", 2, "--out", tmp_path / "inspect.html") == 0
    assert "Objects on the levels of the network" in capsys.readouterr().out
    assert 'id="augmentation"' in (tmp_path / "inspect.html").read_text()


def test_a_recipe_that_refuses_the_data_is_an_error_in_it(folder, tmp_path):
    with pytest.raises(SystemExit):
        run(folder, "--recipe", "classification_shapes", "--data.image_class=null", "--out", tmp_path / "inspect.json")
    problems = json.loads((tmp_path / "inspect.json").read_text())["problems"]
    assert [problem["name"] for problem in problems] == ["recipe_refuses_data"]
    assert "data.image_class" in problems[0]["sentence"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Name the folder of the data"),
        (["my/folder", "--images", "0"], "--images is 0"),
        (["my/folder", "--out", "page.txt"], "must end in .html for a page, or in .json"),
        (["my/folder", "--recipe", "ssd_shape"], "no recipe ssd_shape; did you mean ssd_shapes"),
        (["no/folder"], "no/folder: there is no such folder"),
        (["my/folder", "--imags", "3"], "images"),
    ],
)
def test_wrong_options_are_a_sentence(arguments, sentence, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    assert sentence in capsys.readouterr().err


def test_help_and_wrong_options_need_no_torch():
    code = "import sys; from detkit.engine import cli; print(cli.main(sys.argv[1:])); assert 'torch' not in sys.modules"
    for arguments in (["inspect", "a", "--images", "0"], ["inspect"]):
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
        assert done.stdout.strip() == "2", done.stderr
