import pytest
import torch
from torch import nn

from detkit.engine.phases import check_learner_weights, named_parameters, parameters_of_phases, with_phase
from detkit.errors import InputError
from detkit.learners import Learner, Phase


class Two(Learner):
    def __init__(self) -> None:
        super().__init__()
        self.judge = nn.Linear(2, 1)


@pytest.fixture
def parts():
    return nn.Linear(3, 2), Two()


def test_the_names_of_model_and_learner(parts):
    assert list(named_parameters(*parts)) == ["weight", "bias", "learner.judge.weight", "learner.judge.bias"]


def test_a_model_that_the_learner_holds_too_is_trained_once(parts):
    model, learner = parts
    learner.again = model
    assert len(named_parameters(model, learner)) == 4


def test_one_phase_trains_all(parts):
    model, learner = parts
    (part,) = parameters_of_phases(learner.phases(model), model, learner)
    assert part.keys() == named_parameters(model, learner).keys()


def test_frozen_parameters_have_no_phase(parts):
    model, learner = parts
    learner.judge.requires_grad_(False)
    (part,) = parameters_of_phases([Phase("a", learner.losses, [model])], model, learner)
    assert list(part) == ["weight", "bias"]
    with pytest.raises(InputError, match="The phase b of Two has no parameter to train"):
        parameters_of_phases([Phase("b", learner.losses, [learner.judge])], model, learner)


def test_parameters_that_no_checkpoint_would_hold(parts):
    model, learner = parts
    phase = Phase("a", learner.losses, [model, learner, nn.Linear(1, 1)])
    with pytest.raises(InputError, match="The phase a of Two trains parameters that neither"):
        parameters_of_phases([phase], model, learner)


def test_the_losses_of_a_phase_are_its_group():
    assert with_phase(Phase("a", Two().losses, []), {"b": torch.tensor(1.0)}) == {"a.b": 1.0}
    assert with_phase(Phase("", Two().losses, []), {"b": torch.tensor(1.0)}) == {"b": 1.0}


def test_weights_of_another_learner():
    own = {f"learner.{name}": value for name, value in Two().state_dict().items()}
    check_learner_weights(Two(), {"model.weight": torch.zeros(1), **own})
    with pytest.raises(InputError, match=r"another learner than Two: weights differ in judge.bias \(2 in all\)"):
        check_learner_weights(Two(), {})
    with pytest.raises(InputError, match=r"differ in judge.bias \(1 in all\)"):
        check_learner_weights(Two(), own | {"learner.judge.bias": torch.zeros(5)})
