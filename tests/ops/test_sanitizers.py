"""The tests of the ops and of COCO's evaluation, run once more on kernels that stop the process at the first access
outside of memory and the first undefined result: AddressSanitizer and UndefinedBehaviorSanitizer."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
INSIDE = "DETKIT_SANITIZED_TESTS"  # set in the process that has the sanitized kernels

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(INSIDE in os.environ, reason="these are the sanitized tests already"),
]


@pytest.fixture(scope="module")
def sanitizers() -> list[str]:
    """The libraries that must be loaded before Python's own."""
    compiler = os.environ.get("CXX", "c++")
    if platform.system() != "Linux" or shutil.which(compiler) is None:
        pytest.skip(f"needs Linux and the compiler {compiler!r}")
    # The C++ library as well, since the sanitizer looks for it when it starts, which Python does not load.
    names = ["libasan.so", "libubsan.so", "libstdc++.so"]
    result = [
        subprocess.run([compiler, f"-print-file-name={name}"], capture_output=True, text=True).stdout.strip()
        for name in names
    ]
    missing = [name for name, path in zip(names, result, strict=True) if not Path(path).is_absolute()]
    if missing:
        pytest.skip(f"the compiler {compiler!r} has no {', '.join(missing)}")
    return result


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory, sanitizers) -> dict[str, str]:
    """The environment of a process that imports a copy of detkit with sanitized kernels."""
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("sanitized")
    shutil.copytree(ROOT / "detkit", folder / "detkit", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    build = [sys.executable, "setup.py", "build_ext", "--build-temp", str(folder / "build"), "--build-lib", str(folder)]
    environment = os.environ | {"DETKIT_SANITIZE": "1", "DETKIT_CUDA": "0"}
    result = subprocess.run(build, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (folder / "detkit" / "_C.so").exists(), result.stdout + result.stderr
    return os.environ | {
        INSIDE: "1",
        "PYTHONPATH": str(folder),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LD_PRELOAD": " ".join(sanitizers),
        "ASAN_OPTIONS": "detect_leaks=0",  # Python does not free everything
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }


def run(environment: dict[str, str], *command: str) -> subprocess.CompletedProcess:
    folder = environment["PYTHONPATH"]
    return subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, timeout=2000
    )


def test_the_sanitizer_sees_what_a_kernel_does(sanitized):
    too_few_scores = "torch.ops.detkit.nms(torch.zeros(100, 4), torch.zeros(1), None, 0.5)"
    result = run(sanitized, "-c", f"import torch, detkit.ops; {too_few_scores}")
    assert result.returncode != 0
    assert "AddressSanitizer: heap-buffer-overflow" in result.stderr, result.stderr


def test_the_ops_pass_their_tests_with_sanitizers(sanitized):
    folder = ROOT / "tests" / "ops"
    without_kernels = [
        f"--ignore={folder / name}"
        for name in ("test_build.py", "test_library.py", *(file.name for file in folder.glob("test_cuda_*.py")))
    ]
    choice = ["-m", "not gpu", "-k", "not reference and not compiles"]
    result = run(sanitized, "-m", "pytest", "-xqs", "-p", "no:cacheprovider", str(folder), *without_kernels, *choice)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    assert " passed" in result.stdout


def test_evaluation_passes_its_tests_with_sanitizers(sanitized):
    """The reader of JSON on damaged files among them."""
    folder = ROOT / "tests" / "evaluation"
    names = ["coco/test_native_backend.py", "files/test_json_columns.py", "files/test_detections_file.py"]
    tests = [str(folder / name) for name in names]
    result = run(sanitized, "-m", "pytest", "-xqs", "-p", "no:cacheprovider", *tests)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    assert " passed" in result.stdout
