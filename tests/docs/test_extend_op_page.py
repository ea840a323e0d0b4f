"""The operation of docs/extend/op.md: its kernels are compiled, and its test passes."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch
from extend_pages import FOLDER, files_of

from detkit.ops import backend

ROOT = FOLDER.parents[1]
EMULATION = ROOT / "tests" / "ops" / "cuda_on_cpu"
PAGE = (FOLDER / "op.md").read_text()
SHOWN = files_of("op.md")
NAMESPACE = "detkit_page"  # the process has the operations of detkit already


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """The page's kernels, those for CUDA run by the CPU (see tests/ops/cuda_on_cpu)."""
    compiler = os.environ.get("CXX", "c++")
    if shutil.which(compiler) is None:
        pytest.skip(f"needs the compiler {compiler!r}")
    if backend() == "reference":
        pytest.skip("the native kernels were not built")
    folder, installed = tmp_path_factory.mktemp("op"), Path(torch.__file__).parent
    for header in (ROOT / "csrc").rglob("*.h"):
        copy = folder / header.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(header.read_text())
    for path in [path for path in SHOWN if path.startswith("csrc/")]:
        (folder / path).write_text(SHOWN[path])
    (schema,) = re.findall(r"^  m\.def\(.*\);$", PAGE, re.MULTILINE)
    (folder / "csrc/library.cpp").write_text(
        f"#include <torch/csrc/stable/library.h>\nSTABLE_TORCH_LIBRARY(detkit, m) {{ {schema} }}"
    )
    sources = ["csrc/library.cpp", "csrc/cpu/box_area.cpp", "csrc/cuda/box_area.cu", str(EMULATION / "runtime.cpp")]
    flags = ["-x", "c++", "-std=c++20", "-O1", "-fPIC", "-fvisibility=hidden", f"-Ddetkit={NAMESPACE}", "-DUSE_CUDA"]
    flags += ["-DTORCH_TARGET_VERSION=0x020b000000000000", f"-I{EMULATION}", "-isystem", str(installed / "include")]
    link = ["-shared", "-Wl,-Bsymbolic", f"-L{installed / 'lib'}", "-ltorch_cpu", "-o", "box_area.so"]
    done = subprocess.run([compiler, *flags, *sources, *link], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    torch.ops.load_library(folder / "box_area.so")


@pytest.fixture
def module(library, monkeypatch):
    """The page's Python file, as ``detkit.ops.box_area``."""
    module = types.ModuleType("detkit.ops.box_area")
    exec(_of_the_page(SHOWN["detkit/ops/box_area.py"]), module.__dict__)
    monkeypatch.setitem(sys.modules, "detkit.ops.box_area", module)
    return module


def _of_the_page(text: str) -> str:
    return text.replace("torch.ops.detkit", f"torch.ops.{NAMESPACE}").replace("detkit::", f"{NAMESPACE}::")


@pytest.mark.slow  # for the compiler
def test_passes_its_test(module):
    names: dict = {}
    exec(_of_the_page(SHOWN["tests/ops/test_box_area.py"]), names)
    for count in (0, 1, 5000):
        names["test_equals_the_reference"](count)
    names["test_passes_opcheck"]()


@pytest.mark.slow
def test_its_cuda_kernel_gives_the_same(library):
    boxes = torch.rand(300, 4)
    op = getattr(torch.ops, NAMESPACE).box_area.default
    assert torch.equal(op._op_dk(torch._C.DispatchKey.CUDA, boxes), op(boxes))
    assert op._op_dk(torch._C.DispatchKey.CUDA, boxes[:0]).shape == (0,)


def test_what_it_names_exists():
    for path in re.findall(r"`((?:csrc|detkit|tests|tools)/[\w/.]*)`", PAGE):
        assert (ROOT / path).exists(), path
    assert ast.parse(SHOWN["detkit/ops/box_area.py"])
    assert not set(SHOWN) & {str(path.relative_to(ROOT)) for path in ROOT.glob("csrc/**/*")}
