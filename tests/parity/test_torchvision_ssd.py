"""torchvision's SSD300 and SSDlite and ours, the same random weights in both, the whole way through."""

import copy

import pytest
import torch
import torchvision

from detkit.errors import InputError
from detkit.geometry import Placement
from detkit.heads.context import Context
from detkit.heads.dense.ssd import SSDOutput
from detkit.preprocess import Batch
from detkit.structures import Target
from detkit.weights import from_torchvision

CLASSES = 5
SEEDS = {"ssd300_vgg16": (0, 1), "ssdlite320_mobilenet_v3_large": (0, 1, 2)}
LOSSES = {"ssd_cls": "classification", "ssd_box": "bbox_regression"}
PARAMETERS = {  # one of every part, by our and by torchvision's name
    "ssd300_vgg16": {
        "backbone.features.2.weight": "backbone.features.2.weight",
        "backbone.features.26.bias": "backbone.extra.0.3.bias",
        "backbone.fc6.bias": "backbone.extra.0.7.1.bias",
        "neck.norm.scale": "backbone.scale_weight",
        "neck.extra.3.0.weight": "backbone.extra.4.0.weight",
        "head.deltas.5.weight": "head.regression_head.module_list.5.weight",
    },
    "ssdlite320_mobilenet_v3_large": {
        "backbone.stages.0.4.block.1.0.weight": "backbone.features.0.4.block.1.0.weight",
        "backbone.stages.1.0.1.0.weight": "backbone.features.1.0.1.0.weight",
        "neck.extra.3.1.0.weight": "backbone.extra.3.1.0.weight",
        "head.deltas.5.1.weight": "head.regression_head.module_list.5.1.weight",
    },
}


CASES = [
    pytest.param((name, seed), marks=[pytest.mark.slow] * (seed > 0)) for name, seeds in SEEDS.items() for seed in seeds
]


@pytest.fixture(scope="module", params=CASES, ids=str)
def twins(request):
    """torchvision's model with random weights that detect something, and its detkit twin."""
    name, seed = request.param
    torch.manual_seed(seed)
    theirs = getattr(torchvision.models.detection, name)(weights=None, weights_backbone=None, num_classes=CLASSES + 1)
    _spread_outputs(theirs)
    return name, theirs.eval(), from_torchvision(name, theirs.state_dict()).eval()


@torch.no_grad()
def _spread_outputs(model):
    """Activations of ordinary size, random batch-norm statistics, and outputs that differ widely between boxes."""
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.8, 1.25)
    if isinstance(model.backbone, torchvision.models.detection.ssd.SSDFeatureExtractorVGG):
        model.backbone.features[0].weight /= 100  # its pixels are as large
    for layers, std in ((model.head.classification_head, 1.5), (model.head.regression_head, 1.0)):
        for layer in layers.module_list:
            last = layer[-1] if isinstance(layer, torch.nn.Sequential) else layer
            last.register_forward_hook(_Spread(std))
    model.eval()(_images(99)[:1])
    for module in model.head.modules():
        module._forward_hooks.clear()


class _Spread:
    """Scales a layer at its first call so that each of its channels is centered on 0 with a given deviation."""

    def __init__(self, std):
        self.std = std

    def __call__(self, layer, inputs, output):
        # A map of one cell has no deviation over cells: then that over channels.
        deviation = output.std(dim=(0, 2, 3), keepdim=True) if output[0, 0].numel() > 1 else output.std()
        scale = (self.std / deviation).flatten()
        layer.weight.mul_(scale[:, None, None, None])
        centered = (output - layer.bias[:, None, None]) * scale[:, None, None]
        layer.bias.copy_(-centered.mean(dim=(0, 2, 3)) + 0.3 * torch.randn(len(layer.bias)))
        return None


def _images(seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(3, height, width, generator=generator) for height, width in ((180, 260), (350, 310))]


def _targets(images, seed):
    """One to five random boxes in each image, and one as large as almost all of it."""
    generator = torch.Generator().manual_seed(seed)
    targets = []
    for image in images:
        count = int(torch.randint(1, 6, (), generator=generator))
        size = torch.tensor([image.shape[2], image.shape[1]])
        corners = torch.rand(count, 2, 2, generator=generator).sort(dim=1).values * size
        boxes = corners.flatten(1) + torch.tensor([0.0, 0.0, 4.0, 4.0])
        boxes = torch.cat((boxes, torch.tensor([[0.02, 0.01, 0.97, 0.98]]) * size.repeat(2)))
        targets.append(Target(boxes, torch.randint(0, CLASSES, (count + 1,), generator=generator)))
    return targets


def test_detections_are_equal(twins):
    _, theirs, ours = twins
    images = _images(3)
    with torch.inference_mode():
        expected, results = theirs(images), ours(images)
    for detections, result in zip(expected, results, strict=True):
        assert len(detections["boxes"]) >= 50
        assert len(set(result.labels.tolist())) == CLASSES
        assert (result.scores.diff() <= 0).all()
        distance = (detections["boxes"][:, None] - result.boxes).abs().amax(dim=2)
        distance[(detections["labels"] - 1)[:, None] != result.labels] = torch.inf
        order = distance.argmin(dim=1)  # scores may be so close that their order is chance
        assert sorted(order.tolist()) == list(range(len(result)))
        torch.testing.assert_close(result.boxes[order], detections["boxes"], atol=1e-3, rtol=0)
        torch.testing.assert_close(result.scores[order], detections["scores"], atol=1e-4, rtol=0)


def test_losses_and_gradients_are_equal_in_training_mode(twins):
    name, theirs, ours = twins
    theirs, ours = copy.deepcopy(theirs).train(), copy.deepcopy(ours).train()
    images = _images(5)[: 1 if name == "ssd300_vgg16" else 2]  # batch norm needs two
    targets = _targets(images, 6)
    theirs_targets = [{"boxes": target.boxes, "labels": target.labels + 1} for target in targets]
    expected, losses = theirs(images, theirs_targets), ours(images, targets)
    assert losses.keys() == LOSSES.keys()
    for loss, theirs_loss in LOSSES.items():
        assert expected[theirs_loss] > 0
        torch.testing.assert_close(losses[loss], expected[theirs_loss], rtol=1e-4, atol=0)
    sum(expected.values()).backward()
    sum(losses.values()).backward()
    for parameter, theirs_parameter in PARAMETERS[name].items():
        wanted, gradient = theirs.get_parameter(theirs_parameter).grad, ours.get_parameter(parameter).grad
        assert wanted.norm() > 0
        assert (gradient - wanted).norm() < 1e-3 * wanted.norm(), parameter


@pytest.mark.parametrize("seed", range(6))
def test_losses_of_other_targets_are_equal(twins, seed):
    """Matching and mining alone, on outputs that never saw an image."""
    name, theirs, ours = twins
    generator = torch.Generator().manual_seed(seed)
    side, cells = (300, (38, 19, 10, 5, 3, 1)) if name == "ssd300_vgg16" else (320, (20, 10, 5, 3, 2, 1))
    images = torch.zeros(2, 3, side, side)
    targets = [_targets(images, seed)[0], *(_targets(images, seed + 100)[:1] if seed % 2 else [Target.empty()])]
    batch = torchvision.models.detection.image_list.ImageList(images, [(side, side)] * 2)
    anchors = theirs.anchor_generator(batch, [torch.empty(2, 1, count, count) for count in cells])
    default_boxes = torch.cat(ours.head.default_boxes([(count, count) for count in cells], (side, side)))
    assert torch.equal(anchors[0], default_boxes)

    logits = 3 * torch.randn(2, len(default_boxes), CLASSES + 1, generator=generator)
    deltas = torch.randn(2, len(default_boxes), 4, generator=generator)
    context = Context(Batch(images, [Placement.identity((side, side))] * 2), targets)
    losses = ours.head.losses(SSDOutput(logits, deltas, default_boxes), context)
    matched = [
        theirs.proposal_matcher(torchvision.ops.box_iou(target.boxes, default_boxes))
        if len(target)
        else torch.full((len(default_boxes),), -1)
        for target in targets
    ]
    expected = theirs.compute_loss(
        [{"boxes": target.boxes, "labels": target.labels + 1} for target in targets],
        {"bbox_regression": deltas, "cls_logits": logits.roll(1, dims=2)},
        anchors,
        matched,
    )
    for loss, theirs_loss in LOSSES.items():
        torch.testing.assert_close(losses[loss], expected[theirs_loss], rtol=1e-4, atol=0)


def test_weights_on_imagenets_whole_trunk_load():
    """Unlike its published weights: torchvision reduces the tail of a backbone without ImageNet's weights."""
    theirs = torchvision.models.detection.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None)
    whole = torchvision.models.mobilenet_v3_large()
    theirs.backbone = torchvision.models.detection.ssdlite._mobilenet_extractor(whole, 6, torch.nn.BatchNorm2d)
    state_dict = {name: torch.zeros_like(x) for name, x in theirs.state_dict().items()}
    for kind, values in (("classification", 91), ("regression", 4)):
        head = f"head.{kind}_head.module_list.1"
        state_dict |= _separable_predictor(head, 960, 6 * values)
    assert from_torchvision("ssdlite320_mobilenet_v3_large", state_dict).backbone.channels == [672, 960]


def _separable_predictor(name, channels, values):
    block = torchvision.models.detection.ssdlite._prediction_block(channels, values, 3, torch.nn.BatchNorm2d)
    return {f"{name}.{part}": tensor for part, tensor in block.state_dict().items()}


def test_refusals_name_what_is_wrong():
    for name in SEEDS:
        with pytest.raises(InputError, match=r"no head\.classification_head\.module_list"):
            from_torchvision(name, {"backbone.conv1.weight": torch.zeros(1)})
    bias = {"head.classification_head.module_list.0.1.bias": torch.zeros(24)}
    with pytest.raises(InputError, match="does not fit torchvision's ssdlite320_mobilenet_v3_large"):
        from_torchvision("ssdlite320_mobilenet_v3_large", bias)
