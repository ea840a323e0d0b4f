import pytest
import torch

from detkit.errors import InputError
from detkit.models.loss_weights import group_sums, weight_losses

LOSSES = {"decoder.3.box": torch.tensor(1.0), "decoder.3.cls": torch.tensor(2.0), "decoder_x": torch.tensor(4.0)}


class TestWeighted:
    def test_an_exact_name(self):
        assert weight_losses(LOSSES, {"decoder_x": 3.0}) == {**LOSSES, "decoder_x": 12.0}

    def test_a_group_holds_for_its_losses_alone(self):
        assert list(weight_losses(LOSSES, {"decoder": 2.0}).values()) == [2.0, 4.0, 4.0]

    def test_the_longest_name_wins(self):
        weights = {"decoder": 2.0, "decoder.3": 3.0, "decoder.3.box": 5.0}
        assert list(weight_losses(LOSSES, weights).values()) == [5.0, 6.0, 4.0]

    def test_zero_keeps_the_loss_attached(self):
        loss = torch.tensor(1.0, requires_grad=True) * 2
        assert weight_losses({"a.b": loss}, {"a": 0.0})["a.b"].requires_grad

    @pytest.mark.parametrize("name", ["decode", "decoder.30", "box", "decoder_x.y"])
    def test_a_name_of_nothing_lists_the_losses(self, name):
        with pytest.raises(InputError, match=rf"\['{name}'\], but the losses are \['decoder.3.box', 'decoder.3.cls', "):
            weight_losses(LOSSES, {name: 1.0})


class TestGroupSums:
    def test_are_of_first_components(self):
        assert group_sums({"a.b": 1.0, "a.c.d": 2.0, "e": 3.0, "f.g": 4.0}) == {"a": 3.0, "f": 4.0}

    def test_without_groups_there_are_none(self):
        assert group_sums({"box_cls": 1.0, "box_reg": 2.0}) == {}

    def test_a_loss_of_the_same_name_stays_as_it_is(self):
        assert group_sums({"a": 1.0, "a.b": 2.0}) == {}
