"""What tests of several rooms share."""

import os
import sys
from pathlib import Path

# Before torch is loaded: threads that wait sleep, and each of several processes has one core.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings

# The same examples on every run; the first call of a torch op takes longer than Hypothesis allows an example.
settings.register_profile("detkit", deadline=None, derandomize=True)
settings.load_profile("detkit")

# Helpers are imported by their names, from whatever folder of tests, and `benchmarks` as tools/benchmark.py does.
sys.path += sorted(str(folder) for folder in Path(__file__).parent.rglob("*") if folder.is_dir())
sys.path.append(str(Path(__file__).parents[1] / "tools"))

_BESIDE_THE_REPOSITORY = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of data and weights that are too large for the repository."""
    folder = Path(os.environ.get("DETKIT_SHARED", _BESIDE_THE_REPOSITORY))
    if not folder.is_dir():
        pytest.skip(f"no shared files at {folder}: set DETKIT_SHARED")
    return folder


# Files that take longest, the longest first; begun first, none of them is what the other processes wait for at the end.
_LONG = (
    "test_precisions", "test_exported_graph", "test_two_stage", "test_recipes", "test_sanitizers", "test_cuda_on_cpu",
    "test_on_imitated_device", "test_wheel", "test_certificate", "test_pages", "test_resume", "test_readme",
    "test_processes", "test_fast_training",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {name: place for place, name in enumerate(_LONG)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))
