import pytest
import torch

from detkit.engine.module import FiniteCheck, LossMeans
from detkit.errors import InputError


def test_a_loss_that_is_not_finite_names_itself_and_the_images():
    check = FiniteCheck()
    check.watch({"cls": torch.tensor(1.0), "box": torch.tensor(2.0)}, [1, 2], 6)
    with pytest.raises(InputError, match=r"Loss box is not finite at step 7, .*images 'a', 12"):
        check.watch({"cls": torch.tensor(1.0), "box": torch.tensor(float("nan"))}, ["a", 12], 7)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_the_check_does_not_wait_but_nothing_bad_is_saved():
    check = FiniteCheck()
    busy = torch.randn(4096, 4096, device="cuda")
    torch.cuda.synchronize()
    for _ in range(50):
        busy = busy @ busy * 1e-4
    check.watch({"cls": busy.sum() * float("inf")}, ["a"], 0)
    assert check.pending  # the GPU is still at work
    with pytest.raises(InputError, match="step 0"):
        check.settle()


def test_mean_losses_weigh_images():
    first, second = LossMeans(), LossMeans()
    first.update({"a": torch.tensor(1.0), "b": torch.tensor(3.0)}, 3)
    second.update({"a": torch.tensor(5.0), "b": torch.tensor(3.0)}, 1)
    assert LossMeans.of([first, second]) == {"loss": 5.0, "a": 2.0, "b": 3.0}
    assert LossMeans.of([LossMeans()]) == {}


def test_mean_losses_of_groups_have_their_sum():
    means = LossMeans()
    means.update({"decoder.1.box": torch.tensor(1.0), "decoder.2.box": torch.tensor(3.0), "cls": torch.tensor(5.0)}, 2)
    assert LossMeans.of([means]) == {
        "loss": 9.0,
        "decoder.1.box": 1.0,
        "decoder.2.box": 3.0,
        "cls": 5.0,
        "decoder": 4.0,
    }
