"""The nets of FCN's authors, in plain torch, and ours with the same weights."""

import random

import pytest
import torch
from caffe_fcn_reference import UPSAMPLING, by_caffe, shapes, weights

from detkit.backbones import ConvolutionalVGG16
from detkit.errors import InputError
from detkit.models import FCN8s
from detkit.weights import from_fcn
from detkit.weights.authors.caffe_fcn import _PUBLISHED, _kernel_of_each_class, _names

SEEDS = [0, pytest.param(random.SystemRandom().randrange(2**31), id="fresh")]


@pytest.mark.parametrize("name", UPSAMPLING)
@pytest.mark.parametrize("seed", SEEDS)
def test_logits_are_those_of_the_authors_net(name, seed):
    tensors = weights(name, seed)
    image = torch.rand(3, 50, 37, generator=torch.Generator().manual_seed(seed))
    model = from_fcn(name, tensors).eval()
    with torch.inference_mode():
        expected = by_caffe(name, tensors, image)
        context = model.context([image])
        logits = model.head.full_logits(model.heads(model.features(context.batch), context), context)
    assert expected.std(dim=(2, 3)).min() > 0
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("name", UPSAMPLING)
def test_tensors_of_full_size_fit(name):
    theirs = shapes(name, classes=21)
    assert theirs["fc6.weight"] == (4096, 512, 7, 7)
    with torch.device("meta"):
        ours = _PUBLISHED[name].net(ConvolutionalVGG16(), 21).state_dict()
    names = _names(_PUBLISHED[name])
    assert len(ours) == len(theirs)
    for key, tensor in ours.items():
        layer, _, part = key.rpartition(".")
        there = torch.empty(theirs[f"{names[layer]}.{part}"], device="meta")
        expected = there.diagonal(dim1=0, dim2=1).movedim(-1, 0)[:, None] if "upscore" in names[layer] else there
        assert tensor.shape == expected.shape, key


def test_classes_of_pascal_voc_have_their_names():
    tensors = weights("fcn32s", 0)
    model = from_fcn("fcn32s", tensors)
    assert model.categories is None
    tensors |= {"score_fr.weight": torch.zeros(21, 128, 1, 1), "score_fr.bias": torch.zeros(21)}
    model = from_fcn("fcn32s", tensors | {"upscore.weight": torch.zeros(21, 21, 64, 64)})
    assert [one.name for one in model.categories][:2] == ["background", "aeroplane"]
    assert len(model.categories) == 21
    assert model.provenance[0].name == "FCN fcn32s"


class TestRefusals:
    def test_of_other_nets(self):
        with pytest.raises(InputError, match=r"cannot import FCN's 'fcn4s', only fcn32s, fcn16s, fcn8s, fcn8s-atonce"):
            from_fcn("fcn4s", {})
        with pytest.raises(InputError, match=r"no fc7\.bias in the state dict: it is no net of FCN's authors"):
            from_fcn("fcn8s", {"features.0.weight": torch.zeros(1)})

    def test_of_other_tensors_by_their_names(self):
        tensors = weights("fcn16s", 0)
        with pytest.raises(InputError, match=r"FCN's fcn8s: it lacks .* in excess upscore16\.weight"):
            from_fcn("fcn8s", tensors)
        tensors["conv1_1.weight"] = torch.zeros(2, 3, 5, 5)
        with pytest.raises(InputError, match=r"conv1_1\.weight \(2, 3, 5, 5\) instead of \(2, 3, 3, 3\)"):
            from_fcn("fcn16s", tensors)

    def test_of_upsampling_that_mixes_classes(self):
        weight = torch.zeros(2, 2, 4, 4)
        weight[0, 1, 2, 2] = 1
        with pytest.raises(InputError, match=r"upscore2\.weight is not zero from one class to another"):
            _kernel_of_each_class("upscore2.weight", weight)


def test_the_net_is_the_one_of_the_name():
    assert type(from_fcn("fcn8s-atonce", weights("fcn8s-atonce", 0))) is FCN8s
