"""torchvision's Faster R-CNN and ours, the same random weights in both, the whole way through."""

import copy

import pytest
import torch
import torchvision
from torchvision_twins import (
    draw_the_last,
    in_double,
    make_small_twins,
    make_twins,
    paired,
    random_boxes,
    random_images,
    share_float32,
)

from detkit.errors import InputError
from detkit.heads import Context
from detkit.structures import Target
from detkit.weights import from_torchvision

CLASSES = 7
FEW = {"detections": 30, "proposals": 300}  # for the test's speed
LOSSES = {
    "rpn_cls": "loss_objectness",
    "rpn_box": "loss_rpn_box_reg",
    "box_cls": "loss_classifier",
    "box_reg": "loss_box_reg",
}
RESNET, MOBILE = "fasterrcnn_resnet50_fpn", "fasterrcnn_mobilenet_v3_large_fpn"
OF_ALL = {"rpn.deltas.bias": "rpn.head.bbox_pred.bias", "rpn.objectness.weight": "rpn.head.cls_logits.weight"}
OF_RESNET = OF_ALL | {"backbone.trunk.conv1.weight": "backbone.body.conv1.weight"}
PARAMETERS = {  # some of every part, by our and by torchvision's name
    RESNET: OF_RESNET
    | {
        "neck.output.0.weight": "backbone.fpn.layer_blocks.0.0.weight",
        "neck.lateral.3.bias": "backbone.fpn.inner_blocks.3.0.bias",
        "rpn.convolutions.0.weight": "rpn.head.conv.0.0.weight",
        "box_head.trunk.fc6.weight": "roi_heads.box_head.fc6.weight",
    },
    "fasterrcnn_resnet50_fpn_v2": OF_RESNET
    | {
        "neck.output.0.1.weight": "backbone.fpn.layer_blocks.0.1.weight",
        "rpn.convolutions.1.weight": "rpn.head.conv.1.0.weight",
        "box_head.trunk.convolutions.3.1.bias": "roi_heads.box_head.3.1.bias",
        "box_head.trunk.fc.weight": "roi_heads.box_head.5.weight",
    },
    MOBILE: OF_ALL
    | {
        "backbone.trunk.features.0.0.weight": "backbone.body.0.0.weight",
        "neck.lateral.0.weight": "backbone.fpn.inner_blocks.0.0.weight",
        "box_head.trunk.fc7.weight": "roi_heads.box_head.fc7.weight",
    },
}
# Batch norm of few crops makes so much of rounding that float32 gradients depend on the processor by a thousandth.
EXACT = {"fasterrcnn_resnet50_fpn_v2"}
MODELS = [
    (RESNET, 0),
    pytest.param(("fasterrcnn_resnet50_fpn_v2", 0), marks=pytest.mark.slow),
    (MOBILE, 0),
    pytest.param((MOBILE, 1), marks=pytest.mark.slow),
]


@pytest.fixture(scope="module", params=MODELS, ids=lambda param: f"{param[0]}-{param[1]}")
def twins(request):
    """torchvision's model with random weights that detect something, its detkit twin, and parameters to compare."""
    name, seed = request.param
    # Few regions, for the test's speed.
    return *make_small_twins(name, seed, CLASSES, detections=30, proposals=100, samples=64, deltas=1.0), PARAMETERS[
        name
    ]


@pytest.fixture(scope="module")
def theirs():
    """The state dict of torchvision's first Faster R-CNN."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torchvision.models.detection.__dict__[RESNET](
            weights=None, weights_backbone=None, num_classes=CLASSES + 1
        ).state_dict()


def _targets(images, seed):
    """One to five random boxes in each image but the last, which has none."""
    generator = torch.Generator().manual_seed(seed)
    targets = []
    for image in images[:-1]:
        count = int(torch.randint(1, 6, (), generator=generator))
        boxes = random_boxes(image, count, generator)
        targets.append(Target(boxes, torch.randint(0, CLASSES, (count,), generator=generator)))
    return [*targets, Target.empty()]


@pytest.mark.parametrize("image_seed", [3])
def test_detections_are_equal(twins, image_seed):
    for _, result in paired(*twins[:2], random_images(image_seed), at_least=20):
        assert len(set(result.labels.tolist())) > 1


def test_the_mobile_net_for_small_images_has_sizes_and_limits_of_its_own():
    theirs, ours = make_twins("fasterrcnn_mobilenet_v3_large_320_fpn", 0, CLASSES, objectness=2.5)
    images = random_images(3)
    with torch.inference_mode():
        batch, _ = theirs.transform(images)
        expected, _ = theirs.rpn(batch, theirs.backbone(batch.tensors))
        seen = ours.preprocess(images)
        context = Context(seen)
        regions = ours.rpn.propose(ours.rpn(ours.features(seen), context), context)
        result = [regions.boxes[rows] for rows in regions.slices(len(images))]
    assert seen.sizes == batch.image_sizes
    assert len(set(map(len, expected))) > 1  # of one image the number is the limit, of another the score
    for theirs_boxes, boxes in zip(expected, result, strict=True):
        torch.testing.assert_close(boxes, theirs_boxes, atol=1e-3, rtol=0)


@pytest.mark.parametrize("training", [True, False])
def test_losses_and_gradients_are_equal_with_the_same_sampling(twins, training, monkeypatch, request):
    theirs, ours, parameters = copy.deepcopy(twins)
    images, limit = random_images(5), 1e-3
    targets = _targets(images, 6)
    boxes = [target.boxes for target in targets]
    draw_the_last(monkeypatch)
    if request.node.callspec.params["twins"][0] in EXACT:
        theirs, ours, limit = in_double(theirs), in_double(ours), 1e-4
        images, boxes = [image.double() for image in images], [one.double() for one in boxes]
        share_float32(theirs, ours, monkeypatch)
    theirs_targets = [{"boxes": one, "labels": target.labels + 1} for one, target in zip(boxes, targets, strict=True)]
    # torchvision gives losses in training mode only; batch norm alone is left in the mode that is compared.
    theirs, ours = theirs.train(), ours.train(training)
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.train(training)
    expected, losses = theirs(images, theirs_targets), ours(images, targets)
    for name, theirs_name in LOSSES.items():
        assert expected[theirs_name] > 0
        torch.testing.assert_close(losses[name], expected[theirs_name], rtol=1e-4, atol=1e-5, check_dtype=False)
    sum(expected.values()).backward()
    sum(losses.values()).backward()
    for name, theirs_name in parameters.items():
        wanted, gradient = theirs.get_parameter(theirs_name).grad, ours.get_parameter(name).grad
        assert (gradient - wanted).norm() < limit * wanted.norm(), name


@pytest.fixture(scope="module")
def published():
    """A state dict as torchvision's first Faster R-CNN has it."""
    with torch.device("meta"):
        model = getattr(torchvision.models.detection, RESNET)(weights=None, weights_backbone=None, num_classes=8)
    return {name: torch.rand(tensor.shape).to(tensor.dtype) for name, tensor in model.state_dict().items()}


def test_names_of_older_releases_load(published):
    ours = from_torchvision(RESNET, published).state_dict()
    loaded = from_torchvision(RESNET, {_old_name(name): tensor for name, tensor in published.items()}).state_dict()
    for name, tensor in ours.items():
        torch.testing.assert_close(loaded[name], tensor, rtol=0, atol=0)


def _old_name(name):
    for level in range(4):
        name = name.replace(f"_blocks.{level}.0.", f"_blocks.{level}.")
    return name.replace("head.conv.0.0.", "head.conv.")


def test_weights_without_batch_counts_have_frozen_batch_norm(published):
    frozen = {name: tensor for name, tensor in published.items() if "num_batches_tracked" not in name}
    model = from_torchvision(RESNET, frozen)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules())


def test_refusals_name_what_is_wrong(published):
    with pytest.raises(InputError, match="yolov5"):
        from_torchvision("yolov5", published)
    with pytest.raises(InputError, match="either"):
        from_torchvision(RESNET)
    incomplete = dict(published)
    del incomplete["rpn.head.bbox_pred.bias"]
    with pytest.raises(InputError, match=r"it lacks rpn\.deltas\.bias$"):
        from_torchvision(RESNET, incomplete)
    with pytest.raises(InputError, match=r"backbone\.trunk\.conv1\.weight \(64, 3, 3, 3\) instead of \(64, 3, 7, 7\)"):
        from_torchvision(RESNET, published | {"backbone.body.conv1.weight": torch.zeros(64, 3, 3, 3)})
    with pytest.raises(InputError, match=r"cls_score\.bias"):
        from_torchvision(RESNET, {})
