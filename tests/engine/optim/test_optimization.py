import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from detkit.engine.optim import (
    LayerDecay,
    Schedule,
    WarmupCosine,
    WarmupMultiStep,
    WarmupPolynomial,
    apply_lr_factors,
    learning_rate,
    parameter_groups,
    scale_learning_rates,
)
from detkit.engine.optim.lars import LARS
from detkit.errors import InputError


def rates(schedule: Schedule, steps: int, steps_per_epoch: int) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler = schedule.attach(optimizer, steps, steps_per_epoch)
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


def test_warmup_is_linear_and_milestones_are_ends_of_epochs():
    seen = rates(WarmupMultiStep([2, 3], gamma=0.1, warmup_steps=4, warmup_factor=0.5), steps=40, steps_per_epoch=10)
    assert seen[:5] == pytest.approx([1.0, 1.25, 1.5, 1.75, 2.0])
    assert seen[5:20] == pytest.approx([2.0] * 15)
    assert seen[20:30] == pytest.approx([0.2] * 10)
    assert seen[30:] == pytest.approx([0.02] * 10)


def test_burn_in_is_that_of_darknet():
    """Its ``get_current_rate``: ``learning_rate * (batch / burn_in) ** power``, with power 4."""
    schedule = WarmupMultiStep([5], warmup_steps=20, warmup_factor=0.0, warmup_power=4.0)
    seen = rates(schedule, steps=60, steps_per_epoch=10)
    assert seen[:20] == pytest.approx([2.0 * (batch / 20) ** 4 for batch in range(20)])
    assert seen[20:50] == pytest.approx([2.0] * 30)


def test_a_milestone_within_an_epoch():
    seen = rates(WarmupMultiStep([0.5], warmup_steps=0), steps=10, steps_per_epoch=10)
    assert seen == pytest.approx([2.0] * 5 + [0.2] * 5)


def test_cosine_ends_near_its_final_factor():
    seen = rates(WarmupCosine(final_factor=0.1, warmup_steps=10, warmup_factor=0.0), steps=110, steps_per_epoch=10)
    assert seen[0] == 0
    assert seen[10] == pytest.approx(2.0)
    assert seen[60] == pytest.approx(2.0 * 0.55)
    expected = 0.1 + 0.9 * (1 + math.cos(math.pi * 0.99)) / 2
    assert seen[-1] == pytest.approx(2.0 * expected)
    assert all(later < earlier for earlier, later in pairwise(seen[10:]))


def test_warmup_as_a_fraction_of_the_run():
    assert rates(Schedule(warmup_steps=0.1, warmup_factor=0.0), 100, 10)[:11] == pytest.approx(
        [0.2 * step for step in range(11)]
    )


def test_a_resumed_schedule_goes_on():
    def made():
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
        return optimizer, WarmupCosine(warmup_steps=3).attach(optimizer, 20, 5)

    optimizer, scheduler = made()
    for _ in range(7):
        optimizer.step()
        scheduler.step()
    resumed_optimizer, resumed = made()
    resumed_optimizer.load_state_dict(optimizer.state_dict())
    resumed.load_state_dict(scheduler.state_dict())
    for one, other in ((optimizer, scheduler), (resumed_optimizer, resumed)):
        one.step()
        other.step()
    assert resumed.get_last_lr() == scheduler.get_last_lr()


@pytest.mark.parametrize("arguments", [{"warmup_steps": -1}, {"warmup_factor": 2}])
def test_wrong_warmup(arguments):
    with pytest.raises(InputError, match="warmup"):
        Schedule(**arguments)


def test_no_decay_on_norms_and_biases():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    model[2].weight.requires_grad_(False)
    decayed, plain = parameter_groups(model, decay_norm_and_bias=False)
    assert decayed["params"] == [model[0].weight]
    assert plain["params"] == [model[0].bias, model[1].weight, model[1].bias, model[2].bias]
    assert plain["weight_decay"] == 0.0
    (everything,) = parameter_groups(model, decay_norm_and_bias=True)
    assert len(everything["params"]) == 5


def test_nothing_to_train():
    with pytest.raises(InputError, match="frozen"):
        parameter_groups(nn.Conv2d(1, 1, 1).requires_grad_(False), True)


def test_polynomial_decay_ends_at_zero():
    seen = rates(WarmupPolynomial(power=2.0, warmup_steps=10, warmup_factor=0.0), steps=110, steps_per_epoch=10)
    assert seen[:11] == pytest.approx([0.2 * step for step in range(11)])
    assert seen[60] == pytest.approx(2.0 * 0.25)
    assert seen[109] == pytest.approx(2.0 * 0.01**2)


def test_rates_are_scaled_before_a_schedule_begins():
    parameters = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
    groups = [{"params": parameters[:1]}, {"params": parameters[1:], "lr": 0.5}]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    scale_learning_rates(optimizer, 4.0)
    Schedule(warmup_steps=2, warmup_factor=0.5).attach(optimizer, 10, 5)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.2, 1.0])


class TestLearningRateFactors:
    @pytest.fixture
    def model(self):
        torch.manual_seed(0)
        backbone = nn.ModuleDict({"layer1": nn.Linear(2, 2), "layer10": nn.Linear(2, 2)})
        return nn.ModuleDict({"backbone": backbone, "backbone_x": nn.Linear(2, 2)})

    def test_the_longest_prefix_wins_by_whole_components(self, model):
        groups = parameter_groups(model, True, {"backbone": 0.1, "backbone.layer1": 0.01})
        assert [group.get("lr_factor", 1.0) for group in groups] == [1.0, 0.01, 0.1]
        assert [group["params"] for group in groups] == [
            [*model["backbone_x"].parameters()],
            [*model["backbone"]["layer1"].parameters()],
            [*model["backbone"]["layer10"].parameters()],
        ]

    def test_one_parameter(self, model):
        *_, last = parameter_groups(model, True, {"backbone.layer1.bias": 3.0})
        assert last == {"params": [model["backbone"]["layer1"].bias], "lr_factor": 3.0}

    def test_beside_the_decay_of_norms_and_biases(self, model):
        groups = parameter_groups(model, False, {"backbone": 0.1})
        assert [(group.get("lr_factor", 1.0), "weight_decay" in group) for group in groups] == [
            (1.0, False),
            (1.0, True),
            (0.1, False),
            (0.1, True),
        ]
        assert sum(len(group["params"]) for group in groups) == 6

    def test_are_applied_once_and_followed_by_schedules(self, model):
        optimizer = torch.optim.SGD(parameter_groups(model, True, {"backbone": 0.1}), lr=2.0)
        apply_lr_factors(optimizer)
        scale_learning_rates(optimizer, 0.5)
        scheduler = Schedule(warmup_steps=2, warmup_factor=0.5).attach(optimizer, 10, 5)
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.5, 0.05])
        for _ in range(2):
            optimizer.step()
            scheduler.step()
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([1.0, 0.1])
        assert learning_rate(optimizer) == 1.0

    def test_the_rate_is_told_without_factors_where_all_have_one(self, model):
        optimizer = torch.optim.SGD(parameter_groups(model, True, {"backbone": 0.1, "backbone_x": 0.2}), lr=2.0)
        apply_lr_factors(optimizer)
        assert learning_rate(optimizer) == pytest.approx(2.0)

    def test_lars_takes_steps_in_proportion(self, model):
        before = {name: value.clone() for name, value in model.named_parameters()}
        moves = []
        for factors in ({}, {"backbone": 0.1}):
            model.load_state_dict(before)
            optimizer = LARS(parameter_groups(model, True, factors), lr=1.0)
            apply_lr_factors(optimizer)
            for value in model.parameters():
                value.grad = torch.ones_like(value)
            optimizer.step()
            moves.append({name: value.detach() - before[name] for name, value in model.named_parameters()})
        for name, move in moves[1].items():
            factor = 0.1 if name.startswith("backbone.") else 1.0
            torch.testing.assert_close(move, factor * moves[0][name], rtol=1e-4, atol=1e-6)

    @pytest.mark.parametrize(
        ("prefix", "hint"),
        [
            ("bakbone.layer1", "did you mean backbone.layer1"),
            ("head", "there are: backbone, backbone_x"),
            ("back", "did you mean"),
        ],
    )
    def test_a_prefix_of_nothing(self, model, prefix, hint):
        with pytest.raises(InputError, match=f"lr_factors names {prefix}, but no parameter's name begins so; .*{hint}"):
            parameter_groups(model, True, {prefix: 0.1})

    @pytest.mark.parametrize("factor", [0.0, -1.0, math.inf, math.nan])
    def test_a_factor_that_is_none(self, model, factor):
        with pytest.raises(InputError, match="positive"):
            parameter_groups(model, True, {"backbone": factor})

    def test_a_frozen_part_may_be_named(self, model):
        model["backbone"].requires_grad_(False)
        (group,) = parameter_groups(model, True, {"backbone": 0.1})
        assert "lr_factor" not in group

    def test_layers_by_their_depth(self):
        assert LayerDecay(0.5, ["stem", "layer1", "layer2"]).factors() == {"stem": 0.125, "layer1": 0.25, "layer2": 0.5}
