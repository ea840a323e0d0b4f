"""Frozen batch norm: the results and gradients of torchvision's and timm's, in one operation on the map."""

import copy
import pickle

import pytest
import timm
import torch
import torchvision
from operation_counter import OperationCounter
from timm.layers import freeze_batch_norm_2d

from detkit.backbones.frozen_batch_norm import FrozenBatchNorm2d, FrozenBatchNormAct2d, freeze_batch_norm

NETS = {
    "torchvision": lambda: torchvision.models.resnet18(num_classes=3),
    "timm": lambda: timm.create_model("mobilenetv3_small_050", num_classes=3),
}


@pytest.fixture(params=NETS)
def pair(request):
    """A net with trained statistics, frozen here and by timm."""
    torch.manual_seed(0)
    net = NETS[request.param]().eval()
    for name, buffer in net.named_buffers():
        if "running" in name:
            buffer.uniform_(0.5, 1.5)
    return freeze_batch_norm(copy.deepcopy(net)), freeze_batch_norm_2d(net)


def _layer(net):
    return next(module for module in net.modules() if isinstance(module, (FrozenBatchNorm2d, FrozenBatchNormAct2d)))


def test_equals_the_layers_it_replaces_with_gradients_and_state(pair):
    images, results = torch.rand(2, 3, 64, 64), []
    assert list(pair[0].state_dict()) == list(pair[1].state_dict())
    pair[0].load_state_dict(pair[1].state_dict())
    for net in pair:
        assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in net.modules())
        given = images.clone().requires_grad_()
        logits = net(given)
        logits.square().sum().backward()
        results.append([logits.detach(), given.grad, *(parameter.grad for parameter in net.parameters())])
    for ours, theirs in zip(*results, strict=True):
        assert float((ours - theirs).abs().max()) <= 1e-4 * float(theirs.abs().max())


def test_a_changed_buffer_is_seen(pair):
    ours, theirs = pair
    images = torch.rand(1, 3, 64, 64)
    for change in (
        lambda layer: layer.running_mean.add_(1),
        lambda layer: layer.load_state_dict({name: value + 0.5 for name, value in layer.state_dict().items()}),
        lambda layer: setattr(layer, "weight", layer.weight * 2),
        lambda layer: setattr(layer, "eps", 0.5),
    ):
        ours(images)
        for net in pair:
            change(next(m for m in net.modules() if type(m).__name__ == type(_layer(ours)).__name__))
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours.double()(images.double()), theirs.double()(images.double()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_is_one_operation_in_the_precision_of_the_map(dtype):
    layer = freeze_batch_norm(torch.nn.BatchNorm2d(4))
    x = torch.rand(2, 4, 3, 5, dtype=dtype, requires_grad=True)
    layer(x)
    with OperationCounter() as counter:
        normalized = layer(x)
    assert counter.by_name == {"aten.addcmul.default": 1}
    assert normalized.dtype == dtype


def test_inference_before_training_tracing_and_pickling(pair):
    ours, _ = pair
    images = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        expected = ours(images).clone()
    ours(images).sum().backward()
    x = torch.rand(1, _layer(ours).running_mean.shape[0], 2, 3)
    compiled = torch.compile(_layer(ours), fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), _layer(ours)(x))
    again = pickle.loads(pickle.dumps(ours))
    assert "_known" in vars(_layer(ours))
    assert "_known" not in vars(_layer(again))
    torch.testing.assert_close(again(images), expected)
