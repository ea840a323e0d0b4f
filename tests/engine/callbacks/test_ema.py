from types import SimpleNamespace

import pytest
import torch
from torch import nn

from detkit.engine.callbacks.ema import MovingAverage
from detkit.errors import InputError


def stepped(average: MovingAverage, module: nn.Module, step: int) -> None:
    average.on_train_batch_end(SimpleNamespace(global_step=step), module)


@pytest.fixture
def module():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


@pytest.fixture
def average(module):
    callback = MovingAverage(decay=0.5)
    trainer = SimpleNamespace(global_step=0)
    callback.on_fit_start(trainer, module)
    callback.on_train_start(trainer, module)
    return callback


def test_weights_and_statistics_are_averaged_and_counters_copied(average, module):
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with torch.no_grad():
        for value in module.state_dict().values():
            value.add_(1)
    stepped(average, module, 1)
    decay = min(0.5, 2 / 11)
    for name, value in average.average.items():
        expected = before[name] + 1 if name.endswith("tracked") else before[name] + (1 - decay)
        torch.testing.assert_close(value, expected)


def test_gradient_accumulation_is_one_step(average, module):
    stepped(average, module, 1)
    with torch.no_grad():
        module[0].weight.add_(1)
    before = average.average["0.weight"].clone()
    stepped(average, module, 1)
    assert torch.equal(average.average["0.weight"], before)


def test_validation_sees_the_average_and_training_the_weights(average, module):
    weights = module[0].weight.clone()
    average.average["0.weight"].fill_(3)
    average.on_validation_epoch_start(None, module)
    assert (module[0].weight == 3).all()
    average.on_validation_epoch_end(None, module)
    assert torch.equal(module[0].weight, weights)
    average.restore(module)
    assert torch.equal(module[0].weight, weights)


def test_the_average_of_half_precision_weights_is_float32(module):
    module.bfloat16()
    callback = MovingAverage(0.9)
    callback.on_fit_start(SimpleNamespace(global_step=0), module)
    assert callback.average["0.weight"].dtype == torch.float32


@pytest.mark.parametrize("decay", [0.0, 1.0, 3.0])
def test_a_decay_that_is_none(decay):
    with pytest.raises(InputError, match="between 0 and 1"):
        MovingAverage(decay)


def test_what_a_learner_has_beside_the_model_is_not_averaged():
    module = nn.ModuleDict({"model": nn.Linear(2, 2), "learner": nn.Linear(2, 2)})
    callback = MovingAverage(decay=0.5)
    callback.on_fit_start(SimpleNamespace(global_step=0), module)
    assert list(callback.average) == ["model.weight", "model.bias"]
    own = module["learner"].weight.clone()
    callback.average["model.weight"].fill_(3)
    callback.on_train_end(None, module)
    assert (module["model"].weight == 3).all()
    assert torch.equal(module["learner"].weight, own)
