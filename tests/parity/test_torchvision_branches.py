"""torchvision's Mask R-CNN and Keypoint R-CNN and ours, the same random weights in both, the whole way through."""

import copy
from dataclasses import replace

import pytest
import torch
import torchvision

from detkit.ops import rle_to_masks
from detkit.structures import Target
from detkit.weights import from_torchvision

CLASSES = 5
SEEDS = [0, 1]
SIZES = {"min_size": 160, "max_size": 240}
FEW = {"box_detections_per_img": 20, "box_batch_size_per_image": 32}  # for the test's speed


def _twins(name, seed, **arguments):
    """torchvision's model with random weights that detect something, and its detkit twin."""
    torch.manual_seed(seed)
    theirs = getattr(torchvision.models.detection, name)(
        weights=None, weights_backbone=None, num_classes=CLASSES + 1, **SIZES, **FEW, **arguments
    )
    _spread_outputs(theirs)
    ours = from_torchvision(name, theirs.state_dict())
    ours.preprocess.min_size, ours.preprocess.max_size = SIZES["min_size"], SIZES["max_size"]
    ours.box_head.detections_per_image = FEW["box_detections_per_img"]
    ours.region_sampler = replace(ours.region_sampler, count=FEW["box_batch_size_per_image"])
    return theirs.eval(), ours.eval()


@torch.no_grad()
def _spread_outputs(model):
    """Random batch-norm statistics, and outputs that differ widely between regions and cells."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.8, 1.25)
            module.weight.data.uniform_(0.4, 0.8)
    torch.nn.init.normal_(model.rpn.head.cls_logits.weight, std=0.1)
    torch.nn.init.normal_(model.rpn.head.bbox_pred.weight, std=0.01)
    if model.roi_heads.has_mask():
        torch.nn.init.normal_(model.roi_heads.mask_predictor.mask_fcn_logits.weight, std=0.2)
    predictor = model.roi_heads.box_predictor
    seen = []
    watch = predictor.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    model.eval()(_images(99))
    watch.remove()
    for layer, std in ((predictor.cls_score, 1.5), (predictor.bbox_pred, 0.5)):
        torch.nn.init.normal_(layer.weight)
        outputs = seen[0] @ layer.weight.T
        layer.weight.data *= std / outputs.std(dim=0)[:, None]
        layer.bias.data = -(seen[0] @ layer.weight.T).mean(dim=0)


def _images(seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(3, height, width, generator=generator) for height, width in ((180, 260), (150, 110), (64, 300))]


@pytest.fixture(scope="module", params=SEEDS)
def mask_twins(request):
    return _twins("maskrcnn_resnet50_fpn", request.param)


@pytest.fixture(scope="module", params=SEEDS[:1])
def keypoint_twins(request):
    return _twins("keypointrcnn_resnet50_fpn", request.param, num_keypoints=6)


def _paired(theirs, ours, seed):
    """Torchvision's detections of each image, and ours in the same order."""
    images = _images(seed)
    with torch.inference_mode():
        expected, found = theirs(images), ours(images)
    for detections, result in zip(expected, found, strict=True):
        assert len(detections["boxes"]) >= 10
        distance = (detections["boxes"][:, None] - result.boxes).abs().amax(dim=2)
        distance[(detections["labels"] - 1)[:, None] != result.labels] = torch.inf
        order = distance.argmin(dim=1)
        assert sorted(order.tolist()) == list(range(len(result)))
        result = result[order]
        torch.testing.assert_close(result.boxes, detections["boxes"], atol=1e-3, rtol=0)
        torch.testing.assert_close(result.scores, detections["scores"], atol=1e-4, rtol=0)
        yield detections, result


def test_masks_are_equal(mask_twins):
    for detections, result in _paired(*mask_twins, seed=3):
        probabilities = detections["masks"][:, 0]
        assert 0.002 < (probabilities > 0.5).float().mean() < 0.95
        # A pixel this close to the threshold is decided by the rounding of a hundred layers before it.
        sure = (probabilities - 0.5).abs() > 1e-4
        assert sure.float().mean() > 0.99
        assert torch.equal(result.masks[sure], (probabilities > 0.5)[sure])


def test_run_lengths_are_the_same_masks(mask_twins):
    model = mask_twins[1]
    with torch.inference_mode():
        dense = model(_images(4))
        model.branches["mask"].run_lengths = True
        packed = model(_images(4))
        model.branches["mask"].run_lengths = False
    for one, other in zip(dense, packed, strict=True):
        assert torch.equal(rle_to_masks(other.masks), one.masks)


def test_keypoints_are_equal(keypoint_twins):
    for detections, result in _paired(*keypoint_twins, seed=3):
        expected = detections["keypoints"]
        distance = (result.keypoints[..., :2] - expected[..., :2]).abs().amax(dim=-1)
        torch.testing.assert_close(result.keypoints[..., 2], detections["keypoints_scores"], atol=1e-3, rtol=1e-4)
        # Of two pixels whose logits differ by rounding alone either may be the peak.
        assert (distance > 1e-3).float().mean() < 0.01


@pytest.mark.parametrize("seed", [5])
def test_keypoint_loss_and_gradient_are_equal(keypoint_twins, seed, monkeypatch):
    theirs, ours = (copy.deepcopy(model) for model in keypoint_twins)
    images, targets = _images(seed), []
    generator = torch.Generator().manual_seed(seed)
    for image in images[:-1]:
        size = torch.tensor([image.shape[2], image.shape[1]])
        corners = torch.rand(4, 2, 2, generator=generator).sort(dim=1).values * size
        boxes = corners.flatten(1) + torch.tensor([0.0, 0.0, 4.0, 4.0])
        places = torch.rand(4, 6, 2, generator=generator) * 1.2 - 0.1
        keypoints = boxes[:, None, :2] + places * (boxes[:, 2:] - boxes[:, :2])[:, None]
        visibility = torch.randint(0, 3, (4, 6, 1), generator=generator).float()
        keypoints = torch.cat((keypoints, visibility), dim=2)
        targets.append(Target(boxes, torch.randint(0, CLASSES, (4,), generator=generator), keypoints=keypoints))
    targets.append(Target(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), keypoints=torch.zeros(0, 6, 3)))
    theirs_targets = [
        {"boxes": target.boxes, "labels": target.labels + 1, "keypoints": target.keypoints} for target in targets
    ]
    monkeypatch.setattr(torch, "randperm", lambda count, device=None: torch.arange(count, device=device).flip(0))
    theirs.train()
    theirs.backbone.eval()
    expected, losses = theirs(images, theirs_targets)["loss_keypoint"], ours(images, targets)["keypoint"]
    torch.testing.assert_close(losses, expected, rtol=1e-4, atol=0)
    expected.backward()
    losses.backward()
    wanted = theirs.roi_heads.keypoint_head[-2].weight.grad
    found = ours.branches["keypoint"].convolutions[-1].weight.grad
    assert (found - wanted).norm() < 1e-3 * wanted.norm()
