"""Weights of a model for other classes: what the same classes predict stays the same."""

import logging
from functools import partial

import pytest
import torch
from narrow_models import MODELS, batch_of
from torch import nn

from detkit.errors import InputError
from detkit.heads import RetinaNetHead
from detkit.heads.pixel.pixel_head import PixelOutput
from detkit.models import RetinaNet, with_classes
from detkit.models.transfer.given_weights import GivenWeights
from detkit.models.transfer.load_given import load_given
from detkit.structures import Category

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


def class_logits(model):
    """The logits ``(N, K)`` of all candidates, or of all pixels."""
    images, targets = batch_of(2)
    with torch.no_grad():
        context = model.context(images, given=targets if model.asks_for else None)
        raw = model.heads(model.features(context.batch), context)
        if isinstance(raw, PixelOutput):
            return raw.logits.movedim(1, -1).flatten(0, -2)
        return model.candidates(raw, context).logits


# A later stage of a cascade sees the boxes of the top classes, and a shape has no class.
@pytest.mark.parametrize("name", sorted(MODELS.keys() - {"cascade", "shapenet"}))
def test_classes_of_the_same_name_predict_the_same(tiny_backbone, name):
    torch.manual_seed(0)
    source = varied(with_classes(MODELS[name](tiny_backbone), categories(SOURCE)), 0)
    target = varied(with_classes(MODELS[name](tiny_backbone), categories(TARGET)), 1)
    report = load_given(target, GivenWeights.of(source, "source"))
    given, own = class_logits(source), class_logits(target)
    assert (given.shape[1], own.shape[1]) == (4, 3)
    assert len(given) == len(own) > 0
    torch.testing.assert_close(own[:, [0, 2]], given[:, [1, 3]], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(own[:, 1], given[:, 2], atol=1e-5)
    names = report.names["classes"]
    assert (names.kept, names.new, names.left) == (["b", "d"], ["x"], 2)
    assert report.missing == report.mismatched == report.unused == report.unknown == []


def _pair(tiny_backbone, name):
    source = varied(with_classes(MODELS[name](tiny_backbone), categories(SOURCE)), 0)
    target = varied(with_classes(MODELS[name](tiny_backbone), categories(TARGET)), 1)
    return source, target


def test_boxes_and_masks_of_classes_follow_their_names(tiny_backbone):
    source, target = _pair(tiny_backbone, "mask")
    before = target.branches["mask"].logits.weight.detach().clone()
    load_given(target, GivenWeights.of(source, "source"))
    deltas = (one.box_head.deltas.weight.unflatten(0, (-1, 4)) for one in (target, source))
    for own, given in (deltas, (one.branches["mask"].logits.weight for one in (target, source))):
        assert torch.equal(own[[0, 2]], given[[1, 3]])
        assert not torch.isclose(own[1], given).any()
    assert torch.equal(target.branches["mask"].logits.weight[1], before[1])


def test_all_stages_of_a_cascade_follow_the_names(tiny_backbone):
    source, target = _pair(tiny_backbone, "cascade")
    load_given(target, GivenWeights.of(source, "source"))
    for own, given in zip(target.box_head.stages, source.box_head.stages, strict=True):
        assert torch.equal(own.classes.weight[[0, 2, 3]], given.classes.weight[[1, 3, 4]])
        assert not torch.isclose(own.classes.weight[1], given.classes.weight[2]).any()


def test_heat_maps_follow_the_names_of_keypoints(tiny_backbone):
    source, target = (varied(MODELS["keypoint"](tiny_backbone), seed) for seed in (0, 1))
    source.categories = [Category(1, "cat", keypoints=("nose", "tail"))]
    target.categories = [Category(1, "cat", keypoints=("tail", "ear"))]
    before = target.branches["keypoint"].deconvolution.weight.detach().clone()
    report = load_given(target, GivenWeights.of(source, "source"))
    own, given = (one.branches["keypoint"].deconvolution for one in (target, source))
    assert torch.equal(own.weight[:, 0], given.weight[:, 1])
    assert torch.equal(own.weight[:, 1], before[:, 1])
    assert own.bias[0] == given.bias[1]
    assert "keypoints that are new, their rows as initialized: ear" in str(report)


class TestAHeadOfOnesOwn:
    class Head(RetinaNetHead):
        """Another layer predicts the classes, and nothing says which of its outputs they are."""

        def __init__(self, in_channels, strides, num_classes):
            super().__init__(in_channels, strides, num_classes, convolutions=1)
            self.classes = nn.Sequential(nn.Conv2d(8, 9 * num_classes, 3, padding=1))

        def class_rows(self):
            return None

    def _model(self, tiny_backbone, names):
        model = RetinaNet(tiny_backbone(8), len(names), None, self.Head)
        model.categories = categories(names)
        return model

    def test_is_taken_by_shapes(self, tiny_backbone):
        source, target = (self._model(tiny_backbone, names) for names in ("abcd", "bxd"))
        report = load_given(target, GivenWeights.of(source, "source"))
        assert [name for name, *_ in report.mismatched] == ["head.classes.0.weight", "head.classes.0.bias"]
        assert torch.equal(target.head.deltas.weight, source.head.deltas.weight)

    def test_of_the_same_shape_with_other_classes_is_warned_of(self, tiny_backbone, caplog):
        source, target = (self._model(tiny_backbone, names) for names in ("abc", "xyz"))
        load_given(target, GivenWeights.of(source, "source"))
        assert "head does not say which outputs belong to classes (class_rows)" in caplog.text
        with caplog.at_level(logging.INFO):
            caplog.clear()
            load_given(self._model(tiny_backbone, "abc"), GivenWeights.of(source, "source"))
        assert "class_rows" not in caplog.text

    def test_has_no_classes_to_replace(self, tiny_backbone):
        with pytest.raises(InputError, match="the classes of a RetinaNet cannot be replaced: head does not say"):
            with_classes(self._model(tiny_backbone, "abc"), ["x"])


def test_other_numbers_of_anchors_are_of_another_shape(tiny_backbone):
    def model(ratios):
        head = partial(RetinaNetHead, convolutions=1, aspect_ratios=ratios)
        made = RetinaNet(tiny_backbone(8), 3, None, head)
        made.categories = categories("abc")
        return made

    report = load_given(model([1.0, 2.0]), GivenWeights.of(model([1.0, 2.0, 3.0]), "source"))
    assert {name for name, *_ in report.mismatched} == {
        f"head.{layer}.{part}" for layer in ("classes", "deltas") for part in ("weight", "bias")
    }


def test_weights_of_another_model_are_refused(tiny_backbone):
    given = GivenWeights("other.pth", {"fc.weight": torch.ones(2)})
    with pytest.raises(InputError, match=r"other.pth: none of its 1 tensors fits; it begins with 'fc.weight'"):
        load_given(MODELS["fcos"](tiny_backbone), given)


def test_a_model_with_other_classes_learns_and_is_a_copy(tiny_backbone):
    model = MODELS["mask"](tiny_backbone)
    copy = with_classes(model, ["a", "b", "c", "d", "e"])
    assert (model.num_classes, copy.num_classes, copy.box_head.num_classes) == (3, 5, 5)
    images, targets = batch_of(2)
    sum(copy(images, targets).values()).backward()
    assert copy.box_head.classes.weight.grad.shape == (6, 8)
    assert copy.backbone.stem[0].weight is not model.backbone.stem[0].weight
    with pytest.raises(InputError, match="each of another name"):
        with_classes(model, ["a", "a"])
