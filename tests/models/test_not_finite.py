"""Outputs that are not finite: one warning that names the layer, from every kind of model."""

import copy
import warnings

import pytest
import torch
from every_model import GIVEN, IMAGES, MODELS


def _said(model, images=IMAGES, **options):
    """The warnings of one `predict`."""
    if model.asks_for:
        options["given"] = GIVEN[: len(images)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.predict(images, **options)
    return [str(warning.message) for warning in caught]


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_every_model_names_the_layer_once_in_a_call(tiny_backbone, make):
    torch.manual_seed(0)
    model = make(tiny_backbone)
    assert _said(model, batch_size=1) == []
    name, layer = [(name, module) for name, module in model.named_modules() if isinstance(module, torch.nn.Conv2d)][1]
    with torch.no_grad():
        layer.weight.view(-1)[0] = torch.nan
    (message,) = _said(model, batch_size=1)
    assert f"the output of layer {name} (Conv2d) is not finite" in message
    assert "its weight cannot be used" in message


@pytest.mark.parametrize("branch", ["mask", "keypoint"])
def test_branches_are_looked_at_too(tiny_backbone, branch):
    """Their outputs are made after the boxes."""
    torch.manual_seed(0)
    model = MODELS[branch](tiny_backbone)
    with torch.no_grad():
        model.branches[branch].deconvolution.bias[0] = torch.inf
    (message,) = _said(model)
    assert f"layer branches.{branch}.deconvolution (ConvTranspose2d)" in message
    assert "its bias cannot be used" in message


def test_the_image_of_the_batch_is_named(tiny_backbone):
    torch.manual_seed(0)
    model = MODELS["retinanet"](tiny_backbone)

    def spoil(module, inputs, output):
        output[1, 0, 0, 0] = torch.inf

    model.backbone.stem.register_forward_hook(spoil)
    (message,) = _said(model)
    assert "layer backbone.stem (Sequential) is not finite for images [1] of the batch" in message


def test_overflow_of_float16_advises_another_precision(tiny_backbone):
    torch.manual_seed(0)
    model = MODELS["classifier"](tiny_backbone)
    with torch.no_grad():
        model.net.stem[0].weight.fill_(6e4)
    assert _said(model) == []
    (message,) = _said(model.half())
    assert "layer net.stem.0 (Conv2d)" in message
    assert "use bfloat16 or float32" in message


def test_a_model_says_it_again_in_the_next_call_of_predict_but_not_for_every_batch(tiny_backbone):
    torch.manual_seed(0)
    model = MODELS["retinanet"](tiny_backbone).eval()
    with torch.no_grad():
        model.backbone.stem[0].weight.fill_(torch.nan)
    assert len(_said(model, batch_size=1)) == len(_said(model, batch_size=1)) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model(IMAGES)


def test_large_numbers_are_no_fault(tiny_backbone):
    """Only their sum is infinite."""
    torch.manual_seed(0)
    model = MODELS["classifier"](tiny_backbone)
    with torch.no_grad():
        for bias in (parameter for name, parameter in model.head.named_parameters() if name.endswith("bias")):
            bias.fill_(3e38)
    assert _said(model) == []


def test_a_model_in_training_mode_names_the_head_and_is_not_run_again(tiny_backbone):
    model = MODELS["retinanet"](tiny_backbone).train()
    calls = []
    model.backbone.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        model.backbone.stem[0].weight.fill_(torch.nan)
    with pytest.warns(UserWarning, match="the output of the heads, decoded boxes is not finite"):
        model(IMAGES)
    assert len(calls) == 1


def test_what_is_looked_at_changes_no_answer(tiny_backbone):
    torch.manual_seed(0)
    model = MODELS["cascade"](tiny_backbone).eval()
    with torch.no_grad():
        for ours, plain in zip(model(IMAGES), model.detect(IMAGES), strict=True):
            torch.testing.assert_close(vars(ours), vars(plain), rtol=0, atol=0)
    assert not copy.deepcopy(model).training
