"""Each function in one process, and in two that talk over gloo."""

import pytest
import torch
import torch.distributed
from forked import run_in_processes

from detkit.distributed import broadcast, gather, mean, mean_count
from detkit.engine import module


def test_alone():
    assert gather("a") == ["a"]
    assert broadcast({"a": 1}) == {"a": 1}
    assert mean(torch.tensor([1.0, 2.0], requires_grad=True)).tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("count", "expected"), [(0, 1.0), (3, 3.0), (torch.tensor(5), 5.0), (torch.tensor(0.25), 1.0)], ids=str
)
def test_a_count_is_at_least_one(count, expected):
    counted = mean_count(count)
    assert (counted.dtype, counted.shape, counted.item()) == (torch.float32, (), expected)


def test_a_count_has_no_gradient_and_the_given_device():
    assert not mean_count(torch.tensor(2.0, requires_grad=True)).requires_grad
    assert mean_count(2, device="meta").device.type == "meta"


def test_the_names_that_were_in_the_engine_are_there_still():
    assert (module.gather, module.broadcast) == (gather, broadcast)


def test_two_processes(tmp_path):
    run_in_processes(_work, str(tmp_path))
    for rank in (0, 1):
        seen = torch.load(tmp_path / f"{rank}.pt")
        assert seen["gathered"] == [0, 10]
        assert seen["broadcast"] == "of 0"
        assert seen["mean"].tolist() == [0.5, 1.5]
        assert seen["own"].tolist() == [rank, rank + 1]  # left as it was
        assert seen["counts"] == [2.5, 2.5, 1.0]


def _work(rank: int, folder: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    own = torch.tensor([float(rank), rank + 1.0])
    seen = {
        "gathered": gather(10 * rank),
        "broadcast": broadcast(f"of {rank}"),
        "mean": mean(own),
        "own": own,
        "counts": [mean_count(5 * rank).item(), mean_count(torch.tensor(5 * rank)).item(), mean_count(rank).item()],
    }
    torch.save(seen, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()
