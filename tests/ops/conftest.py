import pytest
import torch

from detkit.ops import backend, library


@pytest.fixture(params=["native", "reference"])
def implementation(request, monkeypatch) -> str:
    """Runs a test twice: with the native kernels, and as it is where they were not built."""
    if request.param == "native" and backend() == "reference":
        pytest.skip("the native kernels were not built")
    if request.param == "reference":
        monkeypatch.setattr(library, "NATIVE_DEVICES", frozenset())
    return request.param


@pytest.fixture
def native() -> None:
    """A test of the native kernels alone."""
    if backend() == "reference":
        pytest.skip("the native kernels were not built")


@pytest.fixture
def cuda() -> torch.device:
    """A device with native CUDA kernels."""
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    if backend() != "native+cuda":
        pytest.skip("the CUDA kernels were not built")
    return torch.device("cuda")
