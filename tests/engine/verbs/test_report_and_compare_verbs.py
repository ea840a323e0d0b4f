"""`detkit.report` and `detkit.compare`: what the commands do, with arguments of Python."""

from __future__ import annotations

import json
import random
import subprocess
import sys

import pytest
import torch

import detkit
from detkit.errors import InputError

QUICK = {"data.num_workers": 0, "device": "cpu", "trust": "tiny_detector"}


class TestReport:
    def test_gives_the_page(self, run_folder, shapes_root):
        page = detkit.report(run_folder, data=shapes_root, images=2, bootstrap=0, **QUICK)
        assert page == run_folder / "report.html"
        assert "2 of 5 images are shown" in page.read_text()

    def test_takes_the_name_and_the_split(self, run_folder, tmp_path):
        page = detkit.report(
            run_folder / "best.ckpt", tmp_path / "pages" / "a.html", split="test", bootstrap=5, **QUICK
        )
        assert page == tmp_path / "pages" / "a.html"
        assert "4 images of test" in page.read_text()

    def test_errors_are_in_words_of_python(self, run_folder):
        with pytest.raises(InputError, match=r"^There is no setting image"):
            detkit.report(run_folder, image=3, **QUICK)
        with pytest.raises(InputError, match=r"^bootstrap is 1"):
            detkit.report(run_folder, bootstrap=1, **QUICK)


class TestCompare:
    def test_one_run_with_itself_is_identical(self, run_folder, tmp_path):
        out = tmp_path / "compare.json"
        comparisons = detkit.compare(run_folder, run_folder, bootstrap=20, per_class=True, out=str(out), **QUICK)
        (comparison,) = comparisons.values()
        assert comparison.is_equal
        assert comparison.better is None
        assert comparison.by_class
        assert json.loads(out.read_text())["evaluators"]["bbox"]["verdict"] == str(comparison)

    def test_two_files_that_differ(self, run_folder, shapes_root, tmp_path):
        truth = shapes_root / "annotations" / "instances_val.json"
        content = json.loads(truth.read_text())
        keys = ("image_id", "category_id", "bbox")
        right = [{key: one[key] for key in keys} | {"score": 0.9} for one in content["annotations"]]
        for name, rows in (("a", right), ("b", right[::2])):
            (tmp_path / f"{name}.json").write_text(json.dumps(rows))
        files = tmp_path / "a.json", tmp_path / "b.json"
        (comparison,) = detkit.compare(*files, annotations=str(truth), bootstrap=200, iou_type="bbox").values()
        assert comparison.better == "A"
        assert str(comparison).startswith("A is better by ")

    def test_leaves_the_process_as_it_was(self, run_folder):
        torch.manual_seed(1)
        random.seed(1)
        before = torch.get_rng_state(), random.getstate()
        detkit.compare(run_folder, run_folder, bootstrap=2, **QUICK)
        assert torch.equal(before[0], torch.get_rng_state())
        assert random.getstate() == before[1]


def test_report_is_the_verb_after_any_import():
    code = "import detkit.reporting, detkit.tasks, detkit; assert callable(detkit.report) and callable(detkit.compare)"
    subprocess.run([sys.executable, "-c", code], check=True)
