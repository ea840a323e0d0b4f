"""Batch norm folded into convolutions: the same results, and what is folded after weights, layers or hooks changed."""

import copy
import threading
import weakref
from functools import partial

import pytest
import timm
import torch
from every_model import GIVEN, IMAGES, MODELS
from torch import nn

from detkit.backbones import CSPDarknet53, Darknet19, TimmBackbone, TorchvisionBackbone, YOLOv1Backbone
from detkit.backbones.frozen_batch_norm import FrozenBatchNorm2d
from detkit.heads import RPN, AveragePool, BoxHead, YOLOv1Head
from detkit.models import FCOS, SSD, FasterRCNN, Raw, RegionAlign, RegionStage, YOLOv1, YOLOv2, YOLOv4
from detkit.models.folding import folded
from detkit.models.folding.norm_pairs import is_norm
from detkit.preprocess import Letterbox, ShortestEdge, Square
from detkit.structures import ObjectShape, SemanticMap, Target

TARGETS = [Target(boxes=torch.tensor([[5.0, 5, 30, 35]]), labels=torch.tensor([1]))] * 2
SMALL = ShortestEdge(64, 96)
HEADS_ALONE = {"cascade", "keypoint"}  # which have no batch norm: their networks are those of "mask"


def mobilenet():
    return TorchvisionBackbone("mobilenet_v3_small", stages=[3, 4])


def frozen(kind, name):
    return FCOS(kind(name, stages=[3, 4], frozen_batch_norm=True), 3, preprocess=SMALL)


def c4():
    stage = RegionStage(RegionAlign(4), "resnet18")
    head = partial(BoxHead, trunk=AveragePool)
    backbone = TorchvisionBackbone("resnet18", stages=[4])
    return FasterRCNN(backbone, 3, None, one_level_rpn, head, region_pool=stage, preprocess=SMALL)


def one_level_rpn(channels, strides):
    return RPN(channels, strides, anchor_sizes=[[32.0]])


FAMILIES = {
    **{name: partial(make, mobilenet) for name, make in MODELS.items() if name not in HEADS_ALONE},
    "v1": lambda: YOLOv1(YOLOv1Backbone(0.02), 3, partial(YOLOv1Head, side=2, hidden=8), preprocess=Square(128)),
    "v2": lambda: YOLOv2(Darknet19(0.02), 3, preprocess=Letterbox((96, 128))),
    "v4": lambda: YOLOv4(CSPDarknet53(0.05, [1] * 5), 3, preprocess=Letterbox((96, 128))),
    "ssd": lambda: SSD(TimmBackbone("resnet10t", stages=[4, 5]), 3, preprocess=Square(96)),
    "frozen": partial(frozen, TorchvisionBackbone, "resnet18"),
    "frozen timm": partial(frozen, TimmBackbone, "mobilenetv3_small_050"),
    "c4": c4,
}


def trained_norms(model):
    """`model` in evaluation mode, with batch norm as after training."""
    for module in model.modules():
        if is_norm(module):
            for name, low, high in (("running_mean", -0.3, 0.3), ("running_var", 0.5, 2), ("weight", 0.5, 1.5)):
                with torch.no_grad():
                    getattr(module, name).uniform_(low, high)
    return model.eval()


def predictions(model):
    given = {"given": GIVEN} if model.asks_for else {}
    with torch.inference_mode():
        return model(IMAGES, **given)


def close(ours, theirs, **tolerance):
    for one, other in zip(ours, theirs, strict=True):
        for name, value in vars(one).items():
            if isinstance(value, torch.Tensor):
                torch.testing.assert_close(value, getattr(other, name), **tolerance)


@pytest.fixture
def small():
    torch.manual_seed(0)
    return trained_norms(FAMILIES["yolo"]())


def close_maps(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        assert float((one - other).abs().max()) <= 1e-5 * float(other.abs().max())


@pytest.mark.parametrize("make", FAMILIES.values(), ids=FAMILIES)
def test_every_family_computes_the_same_without_batch_norm(make):
    torch.manual_seed(0)
    model = trained_norms(make())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    copied = model.folded()
    assert not [name for name, module in copied.named_modules() if is_norm(module)]
    if hasattr(model, "backbone"):
        batch = model.preprocess(IMAGES).images
        with torch.inference_mode():
            close_maps(copied.backbone(batch), model.backbone(batch))
    for one, other in zip(predictions(copied), predictions(model), strict=True):
        if isinstance(one, SemanticMap):
            assert (one.label_map == other.label_map).float().mean() > 0.99
        elif isinstance(one, ObjectShape):
            torch.testing.assert_close(one.voxels, other.voxels, rtol=1e-4, atol=1e-5)
        else:
            torch.testing.assert_close(one.scores, other.scores, rtol=1e-4, atol=1e-5)
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(6, 8, 3, 2, 1, bias=False),
        nn.Conv2d(6, 8, (1, 3), padding="same", padding_mode="reflect"),
        nn.Conv2d(6, 6, 3, groups=6, dilation=2),
        nn.Conv2d(6, 4, 3, groups=2),
        nn.ConvTranspose2d(6, 8, 2, 2),
        nn.ConvTranspose2d(6, 4, 3, 2, 1, 1, groups=2, bias=False),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "norm", [nn.BatchNorm2d, partial(nn.BatchNorm2d, affine=False), FrozenBatchNorm2d, timm.layers.BatchNormAct2d]
)
def test_every_kind_of_convolution_and_norm(convolution, norm):
    torch.manual_seed(0)
    channels = convolution.out_channels
    net = nn.Sequential(convolution, norm(channels), nn.ReLU(inplace=True), nn.Conv2d(channels, 3, 1))
    for name, low in (("running_mean", -1), ("running_var", 0.5), ("weight", -1)):
        if getattr(net[1], name) is not None:
            getattr(net[1], name).data.uniform_(low, 1.5)
    net.eval()
    copied, x = folded(net), torch.randn(2, 6, 9, 11)
    assert not any(is_norm(module) for module in copied.modules())
    with torch.no_grad():
        close_maps([copied(x)], [net(x)])


class Odd(nn.Module):
    """Layers in an order that their names do not tell."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.conv3 = (nn.Conv2d(3, 3, 1) for _ in range(3))
        self.bn1, self.bn2, self.bn3 = (nn.BatchNorm2d(3) for _ in range(3))
        self.chain = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1), nn.ReLU(), nn.BatchNorm2d(3))

    def forward(self, x):
        first = self.conv1(x)  # used twice
        x = self.bn1(first) + first
        x = self.bn2(self.conv2(self.bn2(self.conv2(x))))  # shared, always together
        x = self.bn3(x) + self.bn3(self.conv3(x))  # one norm of two maps
        return self.chain(x)  # a norm before, and one after another layer


def test_only_a_norm_that_alone_takes_the_output_is_folded():
    torch.manual_seed(0)
    net = trained_norms(Odd())
    x, copied = torch.rand(2, 3, 5, 6), folded(net)
    assert {name for name, module in net.named_modules() if is_norm(module)} - {
        name for name, module in copied.named_modules() if is_norm(module)
    } == {"bn2"}
    with torch.no_grad():
        close_maps([copied(x)], [net(x)])


def _step(model):
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), 0.01, fused=True)
    sum(model(IMAGES, TARGETS).values()).backward()
    optimizer.step()
    model.eval()


CHANGES = {
    "a training step": _step,
    "weights loaded": lambda model: model.load_state_dict({k: v + 0.1 for k, v in model.state_dict().items()}),
    "weights assigned": lambda model: model.load_state_dict(
        {name: value + 0.1 for name, value in model.state_dict().items()}, assign=True
    ),
    "another type": lambda model: model.double(),
    "a write through .data": lambda model: [parameter.data.mul_(1.1) for parameter in model.parameters()],
    "statistics": lambda model: next(module for module in model.modules() if is_norm(module)).running_mean.add_(1),
    "a layer": lambda model: setattr(model, "backbone", trained_norms(FAMILIES["yolo"]().backbone)),
    "a setting": lambda model: setattr(model.head.postprocess, "score_threshold", 0.3),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_changes_is_seen_by_the_next_prediction(small, change):
    model = small
    model.predict(IMAGES)
    change(model)
    other = copy.deepcopy(model)
    close(model.predict(IMAGES), [answer.to("cpu") for answer in predictions(other)], rtol=1e-3, atol=1e-3)


def test_weights_are_kept_until_training_begins(small):
    small.predict(IMAGES)
    first, second = small.folded(), small.folded()
    pairs = list(zip(first.parameters(), second.parameters(), strict=True))
    assert all(one is other for one, other in pairs)
    known = weakref.ref(next(first.backbone.parameters()))
    del first, second, pairs
    assert known() is not None
    small.train()
    assert known() is None
    small.predict(IMAGES)  # between two steps
    assert small.training
    assert small.folded() is small


def test_a_prediction_leaves_training_as_it_is(small):
    """Also if all of it happens in one process: losses and gradients after a prediction are those without."""
    other = copy.deepcopy(small)
    small.predict(IMAGES)
    gradients = []
    for model in (small, other):
        torch.manual_seed(0)
        sum(model.train()(IMAGES, TARGETS).values()).backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    assert all(torch.equal(one, two) for one, two in zip(*gradients, strict=True))


def test_hooks_get_their_own_modules_and_no_other_image(small):
    expected, seen = predictions(small), []
    layers = [small.neck, small.backbone.stages[1]]
    hooks = [layer.register_forward_hook(lambda module, *_: seen.append(module)) for layer in layers]
    copied = small.folded()
    close(predictions(copied), expected, rtol=1e-3, atol=1e-3)
    assert seen == layers[::-1]
    assert copied.neck is small.neck
    assert copied.backbone.stages[1] is small.backbone.stages[1]
    assert not any(is_norm(module) for module in copied.backbone.stages[0].modules())
    for hook in hooks:
        hook.remove()
    assert not any(is_norm(module) for module in small.folded().modules())


def test_threads_predict_alike(small):
    expected, answers = small.predict(IMAGES), {}
    threads = [threading.Thread(target=lambda n=n: answers.update({n: small.predict(IMAGES)})) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for answer in answers.values():
        close(answer, expected, rtol=0, atol=0)
    assert len(answers) == 4


def test_copies_are_traced_as_models_are(small):
    images = torch.rand(2, 3, 64, 96)
    graph = torch.export.export(Raw(small.folded()), (images,))
    assert not [node for node in graph.graph.nodes if "batch_norm" in str(node.target)]
    with torch.no_grad():
        close_maps(graph.module()(images), small.raw(images))
