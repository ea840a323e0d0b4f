"""The build backend: which torch the kernels are compiled against, found without importing it."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def backend():
    pytest.importorskip("setuptools")
    spec = importlib.util.spec_from_file_location("build_backend", ROOT / "build_backend.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_torch(folder: Path, version: str, cuda: str) -> Path:
    """A folder that looks like an installed torch."""
    (folder / "torch").mkdir()
    (folder / "torch" / "version.py").write_text(
        f"__version__ = '{version}'\ncuda: Optional[str] = {cuda}\nhip: Optional[str] = None\n"
    )
    return folder / "torch"


def only(backend, monkeypatch, folder: Path) -> None:
    """Leaves `folder` as the one place where packages are installed."""
    monkeypatch.setattr(backend.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(backend.sysconfig, "get_path", lambda scheme: str(folder))


def test_the_oldest_torch_is_the_one_that_the_package_asks_for(backend):
    """And no other file of the build names a version of its own."""
    oldest = ".".join(map(str, backend.OLDEST_TORCH))
    named = {
        name: re.findall(r"torch ?[><=]=+ ?([\d.]+)", (ROOT / name).read_text())
        for name in ("pyproject.toml", "build_backend.py", "setup.py", "Makefile", ".ci/run")
    }
    assert named.pop("pyproject.toml") == [oldest]
    assert not any(named.values()), named


@pytest.mark.parametrize("version", ["2.11.0", "2.15.0+cu132", "2.16.0.dev20261101", "3.0.1+cpu"])
def test_the_installed_torch_is_used(backend, monkeypatch, tmp_path, version):
    only(backend, monkeypatch, tmp_path)
    folder = make_torch(tmp_path, version, "'13.2'")
    assert backend.find_torch() == folder
    assert backend._torch_requirement() == []


@pytest.mark.parametrize("version", [None, "2.10.1", "1.13.0"])
def test_without_a_torch_that_is_new_enough_one_is_asked_for(backend, monkeypatch, tmp_path, version):
    only(backend, monkeypatch, tmp_path)
    if version:
        make_torch(tmp_path, version, "None")
    assert backend.find_torch() is None
    assert backend._torch_requirement() == ["torch>=2.11"]


@pytest.mark.parametrize(("cuda", "expected"), [("'13.2'", "13.2"), ("None", None)])
def test_the_cuda_of_a_torch_is_read_from_its_files(backend, tmp_path, cuda, expected):
    assert backend.torch_cuda_version(make_torch(tmp_path, "2.15.0", cuda)) == expected


def test_the_torch_that_runs_is_found(backend):
    import torch

    assert backend.find_torch() == Path(torch.__file__).parent
    assert backend.torch_cuda_version(backend.find_torch()) == torch.version.cuda
