"""Weights of a model for other classes: what the same classes predict stays the same."""

import pytest
import torch

from detkit.models import with_classes
from detkit.models.transfer.given_weights import GivenWeights
from detkit.models.transfer.load_given import load_given
from detkit.structures import Category
from tests.models.narrow_models import MODELS, batch_of

SOURCE, TARGET = ["a", "b", "c", "d"], ["b", "x", "d"]


def categories(names):
    return [Category(index, name) for index, name in enumerate(names)]


def varied(model, seed):
    """`model` with random weights, also where it begins with zeros."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def candidates(model):
    images, targets = batch_of(2)
    with torch.no_grad():
        context = model.context(images, given=targets if model.asks_for else None)
        return model.candidates(model.heads(model.features(context.batch), context), context)


@pytest.mark.parametrize("name", MODELS)
def test_classes_of_the_same_name_predict_the_same(tiny_backbone, name):
    torch.manual_seed(0)
    source = varied(with_classes(MODELS[name](tiny_backbone), categories(SOURCE)), 0)
    target = varied(with_classes(MODELS[name](tiny_backbone), categories(TARGET)), 1)
    report = load_given(target, GivenWeights.of(source, "source"))
    given, own = candidates(source).logits, candidates(target).logits
    assert (given.shape[1], own.shape[1]) == (4, 3)
    assert len(given) == len(own) > 0
    torch.testing.assert_close(own[:, [0, 2]], given[:, [1, 3]], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(own[:, 1], given[:, 2], atol=1e-5)
    names = report.names["classes"]
    assert (names.kept, names.new, names.left) == (["b", "d"], ["x"], 2)
    assert report.missing == report.mismatched == report.unused == report.unknown == []
