"""The source archive, and the wheel that is built from it, as a user installs it: what is in them, and that they run."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
SOURCES = ("detkit", "csrc", "configs", "tests", "tools", "docs", *(path.name for path in ROOT.glob("*.*")))
SOURCES += ("LICENSE", "Makefile")
SNIPPETS = [text for text in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "detkit" in text]

# Each line states what a user's editor must know.
TYPED = """
import torch
from detkit.evaluation import CocoEvaluator
from detkit.models import FasterRCNN
from detkit.ops import box_iou, nms
from detkit.structures import Detections, Target
from torch import Tensor
from typing_extensions import assert_type


def objects(boxes: Tensor, scores: Tensor) -> Target:
    kept = nms(boxes, scores, 0.5)
    assert_type(kept, Tensor)
    assert_type(box_iou(boxes, boxes), Tensor)
    return Target(boxes=boxes[kept], labels=torch.zeros(len(kept), dtype=torch.int64))


def best(detections: Detections) -> float:
    assert_type(detections.boxes, Tensor)
    return float(detections.scores.max())


def judge(model: FasterRCNN, evaluator: CocoEvaluator, images: list[Tensor], targets: list[Target]) -> None:
    evaluator.update(targets, model.predict(images))
"""
WRONG = """
from detkit.ops import nms

nms("boxes", [1, 2], threshold="high")
"""

pytestmark = pytest.mark.slow


def run(*command: object, cwd: Path, **environment: str) -> str:
    """What a command says; the sources are not on its path."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=inherited | environment, capture_output=True, text=True, timeout=1200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory) -> Path:
    """The folder of an unpacked source archive."""
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("archive")
    sources = folder / "sources"
    sources.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, sources / name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
        else:
            shutil.copy(ROOT / name, sources)
    run(sys.executable, "-c", f"import build_backend; build_backend.build_sdist({str(folder)!r})", cwd=sources)
    (archive,) = folder.glob("*.tar.gz")
    shutil.unpack_archive(archive, folder / "unpacked", filter="data")
    (content,) = (folder / "unpacked").iterdir()
    return content


@pytest.fixture(scope="module")
def installed(unpacked, tmp_path_factory) -> Path:
    """The Python of an environment with the wheel, and with the packages of this one that detkit needs."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    build = ("wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder, unpacked)
    run(*pip, *build, cwd=folder, DETKIT_CUDA="0")
    (wheel,) = folder.glob("*.whl")
    run(sys.executable, "-m", "venv", "--without-pip", folder / "venv", cwd=folder)
    python = folder / "venv" / "bin" / "python"
    run(*pip, "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=folder)
    (site_packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
    (site_packages / "of_the_tests.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def findings(python: Path, folder: Path, **scripts: str) -> str:
    """What mypy finds in scripts of a user."""
    pytest.importorskip("mypy")
    for name, text in scripts.items():
        (folder / f"{name}.py").write_text(text)
    options = ["--config-file=", "--ignore-missing-imports", "--check-untyped-defs"]
    options += ["--python-executable", str(python), "--cache-dir", str(python.parents[1] / "mypy_cache")]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, *(f"{name}.py" for name in scripts)],
        cwd=folder, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": ""},
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return "" if done.returncode == 0 else done.stdout


def test_it_is_imported_from_where_it_is_installed(installed, tmp_path):
    code = "import detkit.ops; print(detkit.__file__, detkit.ops.backend())"
    path, backend = run(installed, "-c", code, cwd=tmp_path).split()
    assert Path(path).is_relative_to(installed.parents[1])
    assert backend == "native" or shutil.which(os.environ.get("CXX", "c++")) is None


def test_the_archive_runs_tests_and_tools(unpacked):
    """Of the files that a smoke test reads: recipes, pages, its own helpers."""
    assert "usage" in run(sys.executable, "tools/benchmark.py", "--help", cwd=unpacked, PYTHONPATH=str(unpacked))
    tests = ("tests/recipes", "tests/test_boxes.py", "tests/docs/test_links.py")
    assert "passed" in run(sys.executable, "-m", "pytest", "-q", *tests, cwd=unpacked, PYTHONPATH=str(unpacked))


def test_its_recipes_are_known_by_name(installed, tmp_path):
    names = sorted(path.stem for path in (ROOT / "configs").glob("*.yaml"))
    code = "import detkit.recipes as r; print(r.recipe_folder().parent.name, *r.recipe_names())"
    assert run(installed, "-c", code, cwd=tmp_path).split() == ["detkit", *names]
    shown = run(installed.with_name("detkit"), "train", "ssd_shapes", "--print_config", cwd=tmp_path)
    assert "class_path: detkit.models.SSD" in shown


def test_it_says_that_it_has_types(installed, tmp_path):
    code = "from importlib.resources import files; print(files('detkit').joinpath('py.typed').is_file())"
    assert run(installed, "-c", code, cwd=tmp_path) == "True\n"


def test_its_command_is_there(installed, tmp_path):
    assert "train" in run(installed.with_name("detkit"), "--help", cwd=tmp_path)


def test_the_readmes_programs_are_well_typed(installed, tmp_path):
    scripts = {f"snippet{number}": text for number, text in enumerate(SNIPPETS, 1)}
    assert len(scripts) >= 4
    assert findings(installed, tmp_path, **scripts) == ""


def test_types_are_seen(installed, tmp_path):
    assert findings(installed, tmp_path, typed=TYPED) == ""


def test_what_does_not_fit_the_types_is_found(installed, tmp_path):
    said = findings(installed, tmp_path, wrong=WRONG)
    for wrong in ('"str"; expected "Tensor"', '"list[int]"; expected "Tensor"', "threshold"):
        assert wrong in said
