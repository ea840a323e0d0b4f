"""torchvision's Faster R-CNN and ours, the same random weights in both, the whole way through."""

import copy

import pytest
import torch
import torchvision

from detkit.errors import InputError
from detkit.structures import Target
from detkit.weights import from_torchvision

CLASSES = 7
SEEDS = [0, 1]
LOSSES = {
    "rpn_cls": "loss_objectness",
    "rpn_box": "loss_rpn_box_reg",
    "box_cls": "loss_classifier",
    "box_reg": "loss_box_reg",
}
PARAMETERS = {  # one of every part, by our and by torchvision's name
    "backbone.trunk.conv1.weight": "backbone.body.conv1.weight",
    "neck.output.0.weight": "backbone.fpn.layer_blocks.0.0.weight",
    "neck.lateral.3.bias": "backbone.fpn.inner_blocks.3.0.bias",
    "rpn.convolutions.0.weight": "rpn.head.conv.0.0.weight",
    "rpn.deltas.bias": "rpn.head.bbox_pred.bias",
    "box_head.trunk.fc6.weight": "roi_heads.box_head.fc6.weight",
}


@pytest.fixture(scope="module", params=SEEDS)
def twins(request):
    """torchvision's model with random weights that detect something, and its detkit twin."""
    torch.manual_seed(request.param)
    theirs = torchvision.models.detection.fasterrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=CLASSES + 1, min_size=160, max_size=240
    )
    _spread_outputs(theirs)
    ours = from_torchvision("fasterrcnn_resnet50_fpn", theirs.state_dict())
    ours.preprocess.min_size, ours.preprocess.max_size = 160, 240
    return theirs.eval(), ours.eval()


@torch.no_grad()
def _spread_outputs(model):
    """Random batch-norm statistics, and class logits and deltas that differ widely between regions."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.8, 1.25)
            module.weight.data.uniform_(0.4, 0.8)
    for name, std in (("rpn.head.cls_logits", 0.1), ("rpn.head.bbox_pred", 0.01)):
        torch.nn.init.normal_(model.get_submodule(name).weight, std=std)
    predictor = model.roi_heads.box_predictor
    seen = []
    watch = predictor.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    model.eval()(_images(99))
    watch.remove()
    for layer, std in ((predictor.cls_score, 1.5), (predictor.bbox_pred, 1.0)):
        torch.nn.init.normal_(layer.weight)
        outputs = seen[0] @ layer.weight.T
        layer.weight.data *= std / outputs.std(dim=0)[:, None]
        layer.bias.data = -(seen[0] @ layer.weight.T).mean(dim=0)


def _images(seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(3, height, width, generator=generator) for height, width in ((180, 260), (150, 110), (64, 300))]


def _targets(images, seed):
    """One to five random boxes in each image but the last, which has none."""
    generator = torch.Generator().manual_seed(seed)
    targets = []
    for image in images[:-1]:
        count = int(torch.randint(1, 6, (), generator=generator))
        size = torch.tensor([image.shape[2], image.shape[1]])
        corners = torch.rand(count, 2, 2, generator=generator).sort(dim=1).values * size
        boxes = corners.flatten(1) + torch.tensor([0.0, 0.0, 4.0, 4.0])
        targets.append(Target(boxes, torch.randint(0, CLASSES, (count,), generator=generator)))
    return [*targets, Target.empty()]


@pytest.mark.parametrize("image_seed", [3, 4])
def test_detections_are_equal(twins, image_seed):
    theirs, ours = twins
    images = _images(image_seed)
    with torch.inference_mode():
        expected, found = theirs(images), ours(images)
    assert all(len(detections["boxes"]) >= 20 for detections in expected)
    for detections, result in zip(expected, found, strict=True):
        assert len(set(result.labels.tolist())) > 1
        assert (result.scores.diff() <= 0).all()
        twins_of = _nearest(detections, result)
        assert sorted(twins_of.tolist()) == list(range(len(result)))
        result = result[twins_of]
        assert result.labels.tolist() == (detections["labels"] - 1).tolist()
        torch.testing.assert_close(result.boxes, detections["boxes"], atol=1e-3, rtol=0)
        torch.testing.assert_close(result.scores, detections["scores"], atol=1e-4, rtol=0)


def _nearest(detections, result):
    """Of each of torchvision's detections our nearest: scores may be so close that their order is chance."""
    distance = (detections["boxes"][:, None] - result.boxes).abs().amax(dim=2)
    distance[(detections["labels"] - 1)[:, None] != result.labels] = torch.inf
    return distance.argmin(dim=1)


@pytest.mark.parametrize("training", [True, False])
def test_losses_and_gradients_are_equal_with_the_same_sampling(twins, training, monkeypatch):
    theirs, ours = twins
    images = _images(5)
    targets = _targets(images, 6)
    theirs_targets = [{"boxes": target.boxes, "labels": target.labels + 1} for target in targets]
    monkeypatch.setattr(torch, "randperm", lambda count, device=None: torch.arange(count, device=device).flip(0))
    # torchvision gives losses in training mode only; batch norm alone is left in the mode that is compared.
    theirs, ours = copy.deepcopy(theirs).train(), copy.deepcopy(ours).train(training)
    theirs.backbone.train(training)
    expected, losses = theirs(images, theirs_targets), ours(images, targets)
    for name, theirs_name in LOSSES.items():
        assert expected[theirs_name] > 0
        torch.testing.assert_close(losses[name], expected[theirs_name], rtol=1e-4, atol=1e-5)
    sum(expected.values()).backward()
    sum(losses.values()).backward()
    for name, theirs_name in PARAMETERS.items():
        wanted, gradient = theirs.get_parameter(theirs_name).grad, ours.get_parameter(name).grad
        assert (gradient - wanted).norm() < 1e-3 * wanted.norm(), name


def test_names_of_older_releases_load(twins):
    theirs, ours = twins
    older = {_old_name(name): tensor for name, tensor in theirs.state_dict().items()}
    loaded = from_torchvision("fasterrcnn_resnet50_fpn", older)
    for name, tensor in ours.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], tensor, rtol=0, atol=0)


def _old_name(name):
    for level in range(4):
        name = name.replace(f"_blocks.{level}.0.", f"_blocks.{level}.")
    return name.replace("head.conv.0.0.", "head.conv.")


def test_weights_without_batch_counts_have_frozen_batch_norm(twins):
    theirs, _ = twins
    frozen = {name: tensor for name, tensor in theirs.state_dict().items() if "num_batches_tracked" not in name}
    model = from_torchvision("fasterrcnn_resnet50_fpn", frozen)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules())


def test_refusals_name_what_is_wrong(twins):
    theirs, _ = twins
    with pytest.raises(InputError, match="retinanet"):
        from_torchvision("retinanet", theirs.state_dict())
    with pytest.raises(InputError, match="either"):
        from_torchvision("fasterrcnn_resnet50_fpn")
    incomplete = dict(theirs.state_dict())
    del incomplete["rpn.head.bbox_pred.bias"]
    with pytest.raises(InputError, match=r"rpn\.deltas\.bias"):
        from_torchvision("fasterrcnn_resnet50_fpn", incomplete)
