"""The source distribution and the wheel, as a user installs them: what is in them, that they run, and that the types
are seen.

With DETKIT_WHEEL, the path of a wheel, that one is tested: .ci/run makes it of the kernels that it has compiled.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
LIBRARIES = ("detkit/_C.so", "detkit/_C_cuda.so")
SNIPPETS = [text for text in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "detkit" in text]

# Each line states what a user's editor must know.
TYPED = """
import torch
from detkit.evaluation import CocoEvaluator
from detkit.models import FasterRCNN
from detkit.ops import box_iou, nms
from detkit.structures import Detections, Target
from PIL import Image
from torch import Tensor
from typing_extensions import assert_type


def objects(boxes: Tensor, scores: Tensor) -> Target:
    kept = nms(boxes, scores, 0.5)
    assert_type(kept, Tensor)
    assert_type(box_iou(boxes, boxes), Tensor)
    return Target(boxes=boxes[kept], labels=torch.zeros(len(kept), dtype=torch.int64))


def best(detections: Detections) -> float:
    assert_type(detections.boxes, Tensor)
    for one in detections:
        assert_type(one.name, str | None)
        assert_type(one.mask, Tensor | None)
    assert_type(detections[0].box, Tensor)
    assert_type(detections[:2], Detections)
    return float(detections.scores.max())


def judge(model: FasterRCNN, evaluator: CocoEvaluator, images: list[Tensor], targets: list[Target]) -> None:
    evaluator.update(targets, model.predict(images, score_threshold=0.3))
    assert_type(model.predict(Image.new("RGB", (9, 9))), Detections)
    for detections in model.stream(0):
        assert_type(detections.names, list[str])
"""
WRONG = """
from detkit.ops import nms

nms("boxes", [1, 2], threshold="high")
"""

PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")

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
def tracked() -> list[str]:
    """The files of the repository."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs the files that git tracks")
    return run("git", "ls-files", "--cached", cwd=ROOT).splitlines()


@pytest.fixture(scope="module")
def sdist(tracked, tmp_path_factory) -> Path:
    """The source distribution of the tracked files."""
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("sdist")
    for name in filter(lambda name: (ROOT / name).exists(), tracked):
        copy = folder / "sources" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy)
    build = f"import build_backend; build_backend.build_sdist({str(folder)!r})"
    run(sys.executable, "-c", build, cwd=folder / "sources")
    (archive,) = folder.glob("*.tar.gz")
    return archive


@pytest.fixture(scope="module")
def wheel(request, tmp_path_factory) -> Path:
    """The wheel of DETKIT_WHEEL, or one without CUDA that is built from the source distribution."""
    if given := os.environ.get("DETKIT_WHEEL"):
        return (ROOT / given).resolve(strict=True)
    folder = tmp_path_factory.mktemp("wheel")
    build = ("wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder)
    run(*PIP, *build, request.getfixturevalue("sdist"), cwd=folder, DETKIT_CUDA="0")
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The Python of an environment with the wheel, and with the packages of this one that detkit needs."""
    folder = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "venv", "--without-pip", folder / "venv", cwd=folder)
    python = folder / "venv" / "bin" / "python"
    run(*PIP, "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=folder)
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


def test_the_source_distribution_has_every_file(sdist, tracked):
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert [name for name in tracked if name not in names and (ROOT / name).exists()] == []


def test_the_source_distribution_passes_tests(sdist, tmp_path):
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    tests = ("tests/recipes", "tests/test_boxes.py", "tests/docs/test_links.py")
    said = run(sys.executable, "-m", "pytest", "-q", *tests, cwd=unpacked)
    assert " passed" in said


def test_it_holds_the_package_alone(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"detkit"}


def test_it_is_imported_without_a_compiler(wheel, installed, tmp_path):
    names = zipfile.ZipFile(wheel).namelist()
    code = "import torch, detkit.ops; print(detkit.__file__, detkit.ops.backend(), torch.version.cuda is not None)"
    nowhere = {"PATH": str(tmp_path), "CXX": "missing", "NVCC": "missing"}
    path, backend, has_cuda = run(installed, "-c", code, cwd=tmp_path, **nowhere).split()
    assert Path(path).is_relative_to(installed.parents[1])
    kernels = [library in names for library in LIBRARIES]
    assert kernels[0] or shutil.which(os.environ.get("CXX", "c++")) is None
    assert backend == {0: "reference", 1: "native", 2: "native+cuda"}[kernels[0] + (kernels[1] and has_cuda == "True")]


@pytest.mark.skipif(shutil.which("objdump") is None, reason="needs objdump, of binutils")
def test_its_tag_promises_no_older_system_than_its_kernels_need(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path)
    libraries = [tmp_path / library for library in LIBRARIES if (tmp_path / library).exists()]
    if not libraries:
        pytest.skip("the wheel has no kernels")
    symbols = "".join(run("objdump", "-T", library, cwd=tmp_path) for library in libraries)
    needed = max(int(minor) for minor in re.findall(r"GLIBC_2\.(\d+)", symbols))
    (promised,) = re.findall(r"-py3-none-manylinux_2_(\d+)_\w+\.whl$", wheel.name)
    assert int(promised) >= needed
    headers = "".join(run("objdump", "-p", library, cwd=tmp_path) for library in libraries)
    of_the_system = {"libstdc++.so.6", "libm.so.6", "libgcc_s.so.1", "libc.so.6", "libpthread.so.0", "libdl.so.2",
                     "librt.so.1", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}  # fmt: skip
    assert set(re.findall(r"NEEDED +(\S+)", headers)) <= of_the_system | {"libtorch_cpu.so", "libtorch_cuda.so"}


def test_its_recipes_are_known_by_name(installed, tmp_path):
    names = sorted(path.stem for path in (ROOT / "configs").glob("*.yaml"))
    code = "import detkit.recipes as r; print(r.recipe_folder().parent.name, *r.recipe_names())"
    assert run(installed, "-c", code, cwd=tmp_path).split() == ["detkit", *names]
    shown = run(installed.with_name("detkit"), "train", "ssd_shapes", "--print_config", cwd=tmp_path)
    assert "class_path: detkit.models.SSD" in shown


def test_it_makes_the_pages_of_reports(installed, tmp_path):
    code = "from detkit.reporting import Page, page_html; print(len(page_html(Page('a', 'b', []))))"
    assert int(run(installed, "-c", code, cwd=tmp_path)) > 10_000


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
