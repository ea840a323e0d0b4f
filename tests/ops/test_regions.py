import pytest
import torch

from detkit.ops.regions import refuse_if_deterministic


@pytest.fixture
def deterministic():
    """Sets whether torch must be deterministic, and whether it only warns of what is not."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    yield torch.use_deterministic_algorithms
    torch.use_deterministic_algorithms(before[0], warn_only=before[1])


def test_a_kernel_that_is_not_deterministic_is_refused_where_it_must_be(deterministic, recwarn):
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    deterministic(False)
    refuse_if_deterministic("roi_pool", cuda)
    deterministic(True)
    refuse_if_deterministic("roi_pool", cpu)
    assert not recwarn.list
    with pytest.raises(
        RuntimeError, match="the backward of roi_pool has no deterministic CUDA kernel; run it on the CPU"
    ):
        refuse_if_deterministic("roi_pool", cuda)
    deterministic(True, warn_only=True)
    with pytest.warns(UserWarning, match="the backward of roi_pool has no deterministic CUDA kernel"):
        refuse_if_deterministic("roi_pool", cuda)
