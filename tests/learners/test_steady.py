"""`SteadyLearner`: losses that start late, and batches that are skipped."""

import logging

import pytest
import torch
import torch.distributed
from forked import run_in_processes
from torch import nn

from detkit.errors import InputError
from detkit.learners import SteadyLearner, TrainingBatch
from detkit.models.loss_weights import weight_losses

BATCH = TrainingBatch([], [])


class Losses(nn.Module):
    """A model whose losses are told, times its weights."""

    def __init__(self, totals):
        super().__init__()
        self.totals = iter(totals)
        self.loss_weights = {"mesh.edge": 0.2}
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, images, targets):
        total = self.scale * next(self.totals)
        return weight_losses({"voxel": total, "mesh.chamfer": total * 2, "mesh.edge": total * 10}, self.loss_weights)


def values(losses):
    return {name: loss.item() for name, loss in losses.items()}


def test_losses_start_late_with_the_weights_of_the_model():
    model, learner = Losses([1.0] * 3), SteadyLearner({"mesh": 2}, skip_above=None)
    for _ in range(2):
        assert values(learner.losses(model, BATCH)) == {"voxel": 1, "mesh.chamfer": 0, "mesh.edge": 0}
        assert model.loss_weights == {"mesh.edge": 0.2}
    assert values(learner.losses(model, BATCH)) == {"voxel": 1, "mesh.chamfer": 2, "mesh.edge": 2}


def test_weights_are_restored_where_the_model_fails():
    model, learner = Losses([]), SteadyLearner({"mesh": 2})
    with pytest.raises(StopIteration):
        learner.losses(model, BATCH)
    assert model.loss_weights == {"mesh.edge": 0.2}


def test_a_batch_far_above_the_running_mean_is_skipped():
    """The mean by the recursion of the authors' training: it starts at the first loss, and skipped ones leave it."""
    totals = [2.0, 1.0, 200.0, 4.0, 110.0, 20.0]
    model, learner = Losses(totals), SteadyLearner(skip_above=10.0, momentum=0.9)
    mean, skipped = None, []
    for total in totals:
        given = learner.losses(model, BATCH)
        loss = total * 5
        mean = loss if mean is None else mean
        is_skipped = loss > 10 * mean
        skipped.append(is_skipped)
        if not is_skipped:
            mean = 0.9 * mean + 0.1 * loss
        expected = 0.0 if is_skipped else 1.0
        assert values(given) == pytest.approx(
            {"voxel": total * expected, "mesh.chamfer": 2 * total * expected, "mesh.edge": 2 * total * expected}
        )
        (gradient,) = torch.autograd.grad(torch.stack(list(given.values())).sum(), model.scale)
        assert gradient.item() == pytest.approx(loss * expected)
        assert learner.running_mean.item() == pytest.approx(mean)
    assert skipped == [False, False, True, False, True, False]
    assert learner.skipped == 2


TOTALS = {0: [1.0, 2.0, 100.0, 1.0, 30.0], 1: [3.0, 2.0, 2.0, 1.0, 1.0]}
"""Of two processes. In one alone the 100 would be skipped in the first only, and so would the 30."""


def test_processes_skip_the_same_batches(tmp_path):
    run_in_processes(_steady, str(tmp_path))
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert first["skipped"] == second["skipped"] == [False, False, True, False, False]
    assert first["mean"] == second["mean"]
    means = [5 * (one + other) / 2 for one, other in zip(*TOTALS.values(), strict=True)]
    expected = means[0]
    for row in (0, 1, 3, 4):
        expected = 0.9 * expected + 0.1 * means[row]
    assert first["mean"] == pytest.approx(expected)


def _steady(rank: int, folder: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    model, learner = Losses(TOTALS[rank]), SteadyLearner(skip_above=10.0)
    skipped = [learner.losses(model, BATCH)["voxel"].item() == 0 for _ in TOTALS[rank]]
    torch.save({"skipped": skipped, "mean": learner.running_mean.item()}, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_it_goes_on_where_a_run_resumes():
    first = SteadyLearner({"mesh": 3}, skip_above=10.0)
    model = Losses([1.0] * 4 + [1000.0])
    first.losses(model, BATCH)
    first.losses(model, BATCH)
    resumed = SteadyLearner({"mesh": 3}, skip_above=10.0)
    resumed.load_state_dict(first.state_dict())
    assert values(resumed.losses(model, BATCH))["mesh.chamfer"] == 0
    assert values(resumed.losses(model, BATCH))["mesh.chamfer"] == 2
    assert values(resumed.losses(model, BATCH))["mesh.chamfer"] == 0
    assert resumed.skipped == 1


def test_a_loss_that_is_not_finite_is_left_to_the_engine():
    learner = SteadyLearner()
    learner.losses(Losses([1.0]), BATCH)
    assert learner.losses(Losses([torch.nan]), BATCH)["voxel"].isnan()


class Roots(nn.Module):
    """Losses with finite and infinite values and derivatives: a root at 0 has an infinite one."""

    def __init__(self):
        super().__init__()
        self.loss_weights = {}
        self.scale, self.shift = nn.Parameter(torch.ones(())), nn.Parameter(torch.zeros(2))

    def forward(self, images, targets):
        base, root = images
        return {"base": self.scale * base, "root": (self.shift * root).sqrt().sum()}


@pytest.mark.parametrize("value", [1000.0, torch.inf])
def test_a_skipped_batch_has_no_gradient_where_that_of_its_loss_is_not_finite(value):
    model, learner = Roots(), SteadyLearner(skip_above=10.0)
    learner.losses(model, TrainingBatch([1.0, 0.0], []))
    losses = learner.losses(model, TrainingBatch([value, 1.0], []))
    assert values(losses) == {"base": 0, "root": 0}
    sum(losses.values()).backward()
    assert (model.scale.grad, model.shift.grad.tolist()) == (0, [0, 0])
    assert learner.skipped == 1
    assert learner.running_mean == 1


def test_gradients_of_other_batches_are_those_of_the_losses():
    """Also where the model is used without the learner right after a skipped batch."""
    model, learner = Roots(), SteadyLearner(skip_above=10.0)
    for base, expected in ((2.0, 2.0), (100.0, 0.0), (3.0, 3.0), (100.0, 0.0)):
        model.zero_grad()
        sum(learner.losses(model, TrainingBatch([base, 1.0], [])).values()).backward()
        assert model.scale.grad == expected
        assert model.shift.grad.isinf().all() == (expected > 0)
    model.zero_grad()
    sum(model([5.0, 1.0], []).values()).backward()
    assert model.scale.grad == 5


def test_an_infinite_first_loss_is_left_to_the_engine():
    learner = SteadyLearner()
    assert learner.losses(Losses([torch.inf]), BATCH)["voxel"].isinf()
    assert learner.skipped == 0


def test_what_was_skipped_is_logged(caplog):
    model, learner = Losses([1.0] * 99 + [1e4] + [1.0] * 100), SteadyLearner(skip_above=50.0)
    with caplog.at_level(logging.WARNING, "detkit.learners.steady"):
        for _ in range(200):
            learner.losses(model, BATCH)
    assert [record.getMessage() for record in caplog.records] == [
        "1 of 100 batches were skipped so far: their loss was more than 50 times the running mean"
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"skip_above": 1.0}, "skip_above is 1.0, but must be above 1"),
        ({"momentum": 1.0}, "momentum is 1.0, but must be at least 0 and below 1"),
        ({"starts": {"mesh": -1}}, r"starts are numbers of batches, got \{'mesh': -1\}"),
    ],
)
def test_bad_settings_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        SteadyLearner(**arguments)
