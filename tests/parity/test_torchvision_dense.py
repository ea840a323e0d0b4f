"""torchvision's RetinaNets and FCOS and ours, the same random weights in both, the whole way through."""

import copy

import pytest
import torch
import torchvision
from torchvision.models._api import WeightsEnum

from detkit.errors import InputError
from detkit.structures import Target
from detkit.weights import from_torchvision

CLASSES = 7
SEEDS = [0, 1]
RETINANET_LOSSES = {"retinanet_cls": "classification", "retinanet_box": "bbox_regression"}
LOSSES = {
    "retinanet_resnet50_fpn": RETINANET_LOSSES,
    "retinanet_resnet50_fpn_v2": RETINANET_LOSSES,
    "fcos_resnet50_fpn": {
        "fcos_cls": "classification",
        "fcos_box": "bbox_regression",
        "fcos_centerness": "bbox_ctrness",
    },
}
PARAMETERS = {  # one of every part, by our and by torchvision's name
    "backbone.trunk.conv1.weight": "backbone.body.conv1.weight",
    "neck.output.0.weight": "backbone.fpn.layer_blocks.0.0.weight",
    "neck.lateral.2.bias": "backbone.fpn.inner_blocks.2.0.bias",
    "neck.extra_levels.p6.weight": "backbone.fpn.extra_blocks.p6.weight",
    "neck.extra_levels.p7.bias": "backbone.fpn.extra_blocks.p7.bias",
    "head.class_tower.0.0.weight": "head.classification_head.conv.0.0.weight",
    "head.box_tower.3.0.weight": "head.regression_head.conv.3.0.weight",
    "head.deltas.weight": "head.regression_head.bbox_reg.weight",
}
PARAMETERS_OF_FCOS = {
    **{name: theirs for name, theirs in PARAMETERS.items() if not name.startswith("head.")},
    "head.class_tower.0.0.weight": "head.classification_head.conv.0.weight",
    "head.class_tower.2.1.bias": "head.classification_head.conv.7.bias",
    "head.box_tower.3.0.bias": "head.regression_head.conv.9.bias",
    "head.distances.weight": "head.regression_head.bbox_reg.weight",
    "head.centerness.weight": "head.regression_head.bbox_ctrness.weight",
}
CASES = [pytest.param((name, seed), marks=[pytest.mark.slow] * (seed > 0)) for name in LOSSES for seed in SEEDS]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def twins(request):
    """torchvision's model with random weights that detect something, and its detkit twin."""
    name, seed = request.param
    torch.manual_seed(seed)
    theirs = _theirs(name)
    _spread_outputs(theirs)
    ours = from_torchvision(name, theirs.state_dict())
    ours.preprocess.min_size, ours.preprocess.max_size = 96, 144
    return name, theirs.eval(), ours.eval()


def _theirs(name, classes=CLASSES):
    make = torchvision.models.detection.__dict__[name]
    return make(weights=None, weights_backbone=None, num_classes=classes + 1, min_size=96, max_size=144)


@torch.no_grad()
def _spread_outputs(model):
    """Random batch-norm statistics, and outputs that differ widely between places."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.8, 1.25)
            module.weight.data.uniform_(0.4, 0.8)
    for tower in (model.head.classification_head.conv, model.head.regression_head.conv):
        for module in tower.modules():
            if isinstance(module, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(module.weight)
    for layer, std, mean in _outputs(model):
        seen = []
        watch = layer.register_forward_pre_hook(lambda module, inputs, seen=seen: seen.append(inputs[0]))
        model.eval()(_images(99))
        watch.remove()
        torch.nn.init.normal_(layer.weight)
        layer.bias.zero_()
        outputs = torch.cat([layer(x).flatten(2) for x in seen], dim=2).transpose(0, 1).flatten(1)
        scale = std / outputs.std(dim=1)
        layer.weight *= scale[:, None, None, None]
        layer.bias.copy_(mean - scale * outputs.mean(dim=1))


def _outputs(model):
    """The last layers with the standard deviation and the mean that their outputs are to have."""
    yield model.head.classification_head.cls_logits, 1.5, -3.0
    if hasattr(model.head.regression_head, "bbox_ctrness"):
        yield model.head.regression_head.bbox_reg, 1.0, 2.0
        yield model.head.regression_head.bbox_ctrness, 1.0, 1.0
    else:
        yield model.head.regression_head.bbox_reg, 0.5, 0.0


def _images(seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(3, height, width, generator=generator) for height, width in ((150, 210), (120, 90), (50, 240))]


def _targets(images, seed):
    """One to five random boxes in each image but the last, which has none."""
    generator = torch.Generator().manual_seed(seed)
    targets = []
    for image in images[:-1]:
        count = int(torch.randint(1, 6, (), generator=generator))
        size = torch.tensor([image.shape[2], image.shape[1]])
        corners = torch.rand(count, 2, 2, generator=generator).sort(dim=1).values * size
        boxes = corners.flatten(1) + torch.tensor([0.0, 0.0, 9.0, 9.0])
        targets.append(Target(boxes, torch.randint(0, CLASSES, (count,), generator=generator)))
    return [*targets, Target.empty()]


@pytest.mark.parametrize("image_seed", [3, 4])
def test_detections_are_equal(twins, image_seed):
    """All but those that torchvision calls background."""
    _, theirs, ours = twins
    images = _images(image_seed)
    with torch.inference_mode():
        expected, results = theirs(images), ours(images)
    for detections, result in zip(expected, results, strict=True):
        shown = detections["labels"] > 0
        boxes, scores, labels = (detections[key][shown] for key in ("boxes", "scores", "labels"))
        assert len(labels) >= 10
        assert len(set(labels.tolist())) > 1
        assert (result.scores.diff() <= 0).all()
        twins_of = _nearest(boxes, scores, labels - 1, result)
        assert sorted(twins_of.tolist()) == list(range(len(result)))
        result = result[twins_of]
        assert result.labels.tolist() == (labels - 1).tolist()
        torch.testing.assert_close(result.boxes, boxes, atol=1e-3, rtol=0)
        torch.testing.assert_close(result.scores, scores, atol=1e-4, rtol=0)


def _nearest(boxes, scores, labels, result):
    """Of each of torchvision's detections our nearest: scores may be so close that their order is chance, and boxes
    that the image's edge has cut to nothing lie upon each other."""
    distance = (boxes[:, None] - result.boxes).abs().amax(dim=2) + 100 * (scores[:, None] - result.scores).abs()
    distance[labels[:, None] != result.labels] = torch.inf
    return distance.argmin(dim=1)


def test_losses_and_gradients_are_equal(twins):
    name, theirs, ours = twins
    images = _images(5)
    targets = _targets(images, 6)
    theirs_targets = [{"boxes": target.boxes, "labels": target.labels + 1} for target in targets]
    theirs, ours = copy.deepcopy(theirs).train(), copy.deepcopy(ours).train()
    expected, losses = theirs(images, theirs_targets), ours(images, targets)
    assert losses.keys() == LOSSES[name].keys()
    for loss, theirs_loss in LOSSES[name].items():
        assert expected[theirs_loss] > 0
        torch.testing.assert_close(losses[loss], expected[theirs_loss], rtol=1e-4, atol=1e-5)
    sum(expected.values()).backward()
    sum(losses.values()).backward()
    for parameter, their_parameter in (PARAMETERS_OF_FCOS if "fcos" in name else PARAMETERS).items():
        wanted, gradient = theirs.get_parameter(their_parameter).grad, ours.get_parameter(parameter).grad
        assert wanted.norm() > 0
        assert (gradient - wanted).norm() < 1e-3 * wanted.norm(), parameter


def test_names_of_older_releases_load():
    theirs = _theirs("retinanet_resnet50_fpn")
    older = {_old_name(name): tensor for name, tensor in theirs.state_dict().items()}
    assert older.keys().isdisjoint({"head.classification_head.conv.1.0.weight"})
    loaded = from_torchvision("retinanet_resnet50_fpn", older).state_dict()
    for name, tensor in from_torchvision("retinanet_resnet50_fpn", theirs.state_dict()).state_dict().items():
        torch.testing.assert_close(loaded[name], tensor, rtol=0, atol=0)


def _old_name(name):
    for level in range(3):
        name = name.replace(f"_blocks.{level}.0.", f"_blocks.{level}.")
    for position in reversed(range(4)):
        name = name.replace(f"_head.conv.{position}.0.", f"_head.conv.{2 * position}.")
    return name


@pytest.mark.parametrize("name", LOSSES)
def test_published_weights_come_with_their_classes(name, monkeypatch):
    """As far as that goes without a network: the download is replaced by random weights."""
    published = _theirs(name, classes=90).state_dict()
    monkeypatch.setattr("detkit.backbones.published.ask", lambda url: None)
    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda self, **options: published)
    model = from_torchvision(name, weights="DEFAULT")
    assert (model.num_classes, len(model.categories)) == (90, 90)
    assert (model.categories[0].id, model.categories[0].name) == (1, "person")
    ours = model.state_dict()["backbone.trunk.layer4.2.conv3.weight"]
    assert torch.equal(ours, published["backbone.body.layer4.2.conv3.weight"])


@pytest.mark.parametrize("name", LOSSES)
def test_refusals_name_what_is_wrong(name):
    state_dict = _theirs(name).state_dict()
    incomplete = {key: value for key, value in state_dict.items() if key != "head.regression_head.bbox_reg.bias"}
    with pytest.raises(InputError, match=rf"{name}.*head\.(deltas|distances)\.bias"):
        from_torchvision(name, incomplete)
    with pytest.raises(InputError, match="cls_logits"):
        from_torchvision(name, {})


def test_weights_of_another_detector_are_refused():
    with pytest.raises(InputError, match="8 outputs for 9 anchors"):
        from_torchvision("retinanet_resnet50_fpn", _theirs("fcos_resnet50_fpn").state_dict())
    with pytest.raises(InputError, match="fcos_resnet50_fpn: it lacks"):
        from_torchvision("fcos_resnet50_fpn", _theirs("retinanet_resnet50_fpn").state_dict())
