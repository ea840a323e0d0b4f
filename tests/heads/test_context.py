import pytest
import torch

from detkit.heads.context import Candidates, Context
from detkit.learners import TrainingBatch
from detkit.preprocess import Batch

BOXES = torch.rand(2, 4)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Batch(torch.zeros(2, 3, 4, 4)),
        lambda: Context(Batch(torch.zeros(2, 3, 4, 4))),
        lambda: Candidates(BOXES, BOXES, None, torch.zeros(2)),
        lambda: TrainingBatch([torch.zeros(3, 4, 4)] * 2, None),
    ],
    ids=["Batch", "Context", "Candidates", "TrainingBatch"],
)
def test_what_holds_tensors_is_only_equal_to_itself(make):
    one = make()
    assert one == one
    assert one != make()
    assert len({one, make()}) == 2
