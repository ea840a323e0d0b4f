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
    loss = torch.ones((), device="cuda")
    check.watch({"cls": loss}, ["a"], 0)  # allocates page-locked memory, for which CUDA may wait
    check.settle()
    bad = loss * float("inf")
    torch.cuda._sleep(2**31)  # GPU cycles, a second or more
    try:
        torch.cuda.set_sync_debug_mode("error")
        check.watch({"cls": bad}, ["b"], 1)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert check.pending  # the GPU is still at work
    with pytest.raises(InputError, match="step 1"):
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
