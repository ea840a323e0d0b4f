"""torchvision's networks for segmentation and ours, the same random weights in both, the whole way through."""

import copy
import random

import pytest
import torch
import torchvision
from torch.nn import functional as F
from torchvision.models._api import WeightsEnum

from detkit.errors import InputError
from detkit.preprocess.preprocess import IMAGENET_MEAN, IMAGENET_STD
from detkit.structures import Target
from detkit.weights import from_torchvision
from detkit.weights.torchvision_pixel import LAYOUTS

CLASSES = 7
SIZE = (65, 49)
FRESH = random.SystemRandom().randrange(2**31)
NAMES = [
    "fcn_resnet50",
    "fcn_resnet101",
    "deeplabv3_resnet50",
    "deeplabv3_resnet101",
    "deeplabv3_mobilenet_v3_large",
    "lraspp_mobilenet_v3_large",
]
QUICK = {("deeplabv3_mobilenet_v3_large", FRESH), ("lraspp_mobilenet_v3_large", FRESH)}
CASES = [
    pytest.param(
        (name, seed),
        marks=[] if (name, seed) in QUICK else [pytest.mark.slow],
        id=f"{name}-{'fresh' if seed else seed}",  # one id in all processes
    )
    for name in NAMES
    for seed in (0, FRESH)
]


def make_theirs(name, classes=CLASSES, auxiliary=True):
    options = {"aux_loss": auxiliary} if "lraspp" not in name else {}
    return torchvision.models.get_model(name, weights=None, weights_backbone=None, num_classes=classes, **options)


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def twins(request):
    """torchvision's model with random weights, and its detkit twin."""
    name, seed = request.param
    torch.manual_seed(seed)
    theirs = make_theirs(name)
    vary_(theirs)
    return theirs.eval(), from_torchvision(name, theirs.state_dict()).eval()


@torch.no_grad()
def vary_(net):
    """Statistics of batch norm, and logits that differ widely between pixels."""
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.8, 1.25)
            module.weight.uniform_(0.4, 0.8)
            module.bias.normal_(std=0.1)
        elif isinstance(module, torch.nn.Conv2d) and module.out_channels == CLASSES:
            module.weight.normal_(std=0.5)


def make_images(seed, count):
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(3, *SIZE, generator=generator) for _ in range(count)]


def normalized(images):
    mean, std = torch.tensor(IMAGENET_MEAN)[:, None, None], torch.tensor(IMAGENET_STD)[:, None, None]
    return (torch.stack(images) - mean) / std


def make_targets(seed, count):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randint(0, CLASSES + 1, (count, *SIZE), generator=generator).to(torch.uint8)
    maps[maps == CLASSES] = 255
    return [Target(label_map=one) for one in maps]


def their_losses(net, images, targets):
    """As torchvision's reference training has them: the mean over pixels, the auxiliary one with half the weight."""
    labels = torch.stack([target.label_map for target in targets]).long()
    return {name: F.cross_entropy(logits, labels, ignore_index=255) for name, logits in net(normalized(images)).items()}


def test_logits_and_label_maps_are_the_same(twins):
    theirs, ours = twins
    images = make_images(FRESH, 1)
    with torch.inference_mode():
        expected = theirs(normalized(images))["out"]
        context = ours.context(images)
        raw = ours.heads(ours.features(context.batch), context)
        logits = ours.head.full_logits(raw, context)
        (answer,) = ours(images)
    assert not raw.auxiliary
    assert expected.std() > 0.1
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
    two = expected[0].topk(2, dim=0).values
    is_clear = two[0] - two[1] > 1e-3
    assert is_clear.float().mean() > 0.5  # whatever the seed, most pixels are compared
    assert torch.equal(answer.label_map[is_clear].long(), expected[0].argmax(dim=0)[is_clear])


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_losses_and_gradients_are_the_same(twins, training, request):
    theirs, ours = (copy.deepcopy(one).double().train(training) for one in twins)
    ours.preprocess.double()
    for net in (theirs, ours):
        for layer in net.modules():
            if isinstance(layer, torch.nn.Dropout):
                layer.p = 0.0
    images, targets = [one.double() for one in make_images(FRESH, 2)], make_targets(FRESH, 2)
    expected = their_losses(theirs, images, targets)
    losses = ours(images, targets)
    has_auxiliary = "aux" in expected
    assert len(losses) == 1 + has_auxiliary
    for name, loss in losses.items():
        weight = ours.loss_weights.get("auxiliary", 1.0) if name.startswith("auxiliary") else 1.0
        other = expected["aux" if name.startswith("auxiliary") else "out"]
        assert float(loss.detach()) == pytest.approx(weight * float(other.detach()), rel=1e-4)
    total = expected["out"] + sum(
        ours.loss_weights.get("auxiliary", 1.0) * loss for name, loss in expected.items() if name == "aux"
    )
    total.backward()
    sum(losses.values()).backward()
    names = LAYOUTS[request.node.callspec.params["twins"][0]].names(dict(theirs.named_parameters()))
    assert sorted(names.values()) == sorted(name for name, _ in ours.named_parameters())
    for theirs_name, name in names.items():
        one, other = ours.get_parameter(name).grad, theirs.get_parameter(theirs_name).grad
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4 * float(other.abs().max()) + 1e-12)
    for one, other in zip(statistics(ours), statistics(theirs), strict=True):
        assert one == pytest.approx(other, rel=1e-4)


def statistics(net):
    """The sums of the running statistics, sorted."""
    return sorted(float(one.sum()) for name, one in net.named_buffers() if "running" in name)


@pytest.mark.parametrize("name", ["fcn_resnet50", "lraspp_mobilenet_v3_large"])
def test_without_an_auxiliary_head(name):
    theirs = make_theirs(name, auxiliary=False).eval()
    ours = from_torchvision(name, theirs.state_dict()).eval()
    images = make_images(1, 1)
    with torch.inference_mode():
        expected = theirs(normalized(images))["out"]
        context = ours.context(images)
        logits = ours.head.full_logits(ours.heads(ours.features(context.batch), context), context)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
    assert ours(images, make_targets(1, 1)).keys() == {"semantic"}


def test_published_weights_bring_their_categories(monkeypatch):
    name = "lraspp_mobilenet_v3_large"
    published = make_theirs(name, classes=21).state_dict()
    monkeypatch.setattr("detkit.backbones.published.ask", lambda url: None)
    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda self, **options: published)
    model = from_torchvision(name, weights="DEFAULT")
    assert [category.name for category in model.categories][:3] == ["background", "aeroplane", "bicycle"]
    assert len(model.categories) == model.num_classes == 21
    assert [category.is_thing for category in model.categories] == [False, *[True] * 20]
    (source,) = model.provenance
    assert source.name == "torchvision lraspp_mobilenet_v3_large COCO_WITH_VOC_LABELS_V1"
    assert source.license.startswith("unknown: torchvision's code is BSD-3-Clause")


class TestRefusals:
    def test_of_unknown_networks(self):
        with pytest.raises(InputError, match=r"cannot import torchvision's 'deeplab', only .*fcn_resnet50"):
            from_torchvision("deeplab", {})

    def test_of_other_tensors(self):
        with pytest.raises(InputError, match="no classifier in the state dict"):
            from_torchvision("fcn_resnet50", {"backbone.conv1.weight": torch.zeros(1)})
        state_dict = make_theirs("lraspp_mobilenet_v3_large").state_dict()
        del state_dict["classifier.cbr.0.weight"]
        with pytest.raises(InputError, match=r"lacks head.high.0.weight"):
            from_torchvision("lraspp_mobilenet_v3_large", state_dict)
