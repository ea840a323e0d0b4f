"""Losses of a step: named scalars, the same names at every step."""

import pytest
import torch

from detkit.engine.loss_contract import LossContract
from detkit.errors import InputError

ONE = torch.ones(())


def test_the_same_names_in_any_order_are_fine():
    contract = LossContract()
    contract.check("model", {"box": ONE, "cls": ONE})
    contract.check("model", {"cls": ONE, "box": ONE})


def test_each_phase_has_names_of_its_own():
    contract = LossContract()
    contract.check("generator", {"fool": ONE})
    contract.check("critic", {"real": ONE})


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        ({}, "returns no losses"),
        ({"box": torch.ones(3)}, r"loss box of the model must be a tensor without dimensions, got shape \(3,\)"),
        ({"box": 1.0}, "got float"),
        ({"cls": ONE}, r"are \['cls'\], but were \['box'\]"),
    ],
)
def test_anything_else_is_one_sentence(losses, said):
    contract = LossContract()
    contract.check("model", {"box": ONE})
    with pytest.raises(InputError, match=said):
        contract.check("model", losses)
