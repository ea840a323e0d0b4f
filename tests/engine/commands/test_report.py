"""``detkit report``: the page of a run, of other data, and what it refuses."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

TRUST = ("--trust", "tiny_detector")
QUICK = ("--data.num_workers", "0", "--device", "cpu", "--bootstrap", "5")


def headings(path: Path) -> list[str]:
    return re.findall(r"<h2[^>]*>(.*?)</h2>", path.read_text())


def test_a_run_on_its_own_data(run_folder, detkit_command):
    status, said = detkit_command("report", run_folder, *TRUST, *QUICK)
    assert status == 0, said
    page = run_folder / "report.html"
    assert headings(page) == [
        "Metrics", "Classes", "Sizes", "Errors", "Precision and recall", "Confusion", "Worst images", "Training",
        "Recipe", "Environment", "Provenance and license",
    ]  # fmt: skip
    text = page.read_text()
    assert "tiny_detector.TinyDetector" in text
    assert "trained from random numbers" in text
    assert "the moving average of the training" in text
    assert "All 5 images are shown" in text


def test_of_other_data_elsewhere(run_folder, shapes_root, detkit_command, tmp_path):
    only_test = tmp_path / "only_test"
    shutil.copytree(shapes_root / "images" / "test", only_test / "images" / "test")
    (only_test / "annotations").mkdir()
    shutil.copy(shapes_root / "annotations" / "instances_test.json", only_test / "annotations")
    out = tmp_path / "pages" / "other.html"
    given = ("--data", only_test, "--split", "test", "--images=2", "--out", out)
    status, said = detkit_command("report", run_folder / "best.ckpt", *TRUST, *QUICK, *given)
    assert status == 0, said
    assert "2 of 4 images are shown" in out.read_text()
    assert str(only_test) in out.read_text()
    assert not (run_folder / "report.html").exists()


def test_a_checkpoint_alone_has_no_curves(run_folder, detkit_command, tmp_path):
    shutil.copy(run_folder / "best.ckpt", tmp_path / "alone.ckpt")
    status, said = detkit_command("report", tmp_path / "alone.ckpt", *TRUST, *QUICK)
    assert status == 0, said
    assert "Training" not in headings(tmp_path / "report.html")


def test_a_new_run_in_the_folder_replaces_it(run_folder, recipe, detkit_command):
    (run_folder / "report.html").write_text("of the run before")
    command = ("train", "--config", recipe(ema=0.9), "--trainer.max_epochs", "1", "--overwrite")
    status, said = detkit_command(*command)
    assert status == 0, said
    assert not (run_folder / "report.html").exists()


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["nowhere"], ["nowhere"]),
        (["RUN"], ["tiny_detector", "--trust tiny_detector"]),
        (["RUN", *TRUST, "--out", "."], [". cannot be written (Is a directory)"]),
        (["RUN", *TRUST, "--images", "-1"], ["images must be at least 0"]),
        (["RUN", *TRUST, "--bootstrap", "1"], ["--bootstrap", "2 or more"]),
        (["RUN", *TRUST, "--score_threshold", "30"], ["score_threshold", "0 to 1"]),
        (["RUN", *TRUST, "--data.batch", "3"], ["--data.batch", "data.batch_size"]),
        (["RUN", *TRUST, "--image", "3"], ["--image", "images"]),
        (["RUN", *TRUST, "--split", "train"], ["split", "val"]),
        (["RUN", *TRUST, "--data.root", "missing"], ["missing"]),
        ([], ["run"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_wrong_input(run_folder, detkit_command, argv, words):
    argv = [str(run_folder) if argument == "RUN" else argument for argument in argv]
    status, said = detkit_command("report", *argv)
    assert status == 2
    assert not [word for word in words if word not in said], said
    assert said.count("\n") == 1
