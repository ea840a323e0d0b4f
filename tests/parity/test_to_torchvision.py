"""A detector of ours that leaves for torchvision: the same bits come back, and the same detections."""

import pytest
import torch
import torchvision
from torchvision_twins import paired, random_images, spread, spread_outputs

from detkit.errors import InputError
from detkit.heads import SoftNMS
from detkit.models import FCOS, FasterRCNN, RetinaNet, YOLOv3
from detkit.structures import Category
from detkit.weights import from_torchvision, to_torchvision
from detkit.weights.torchvision_export import LAYOUTS
from detkit.weights.torchvision_weights import BUILDERS

CLASSES = 3
QUICK = {"maskrcnn_resnet50_fpn", "retinanet_resnet50_fpn_v2", "ssdlite320_mobilenet_v3_large"}
EVERY = [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in BUILDERS]
# torchvision has them and reads none of them; by the last dimension of the bias.
OF_BACKGROUND = {"roi_heads.box_predictor.bbox_pred": 4, "roi_heads.mask_predictor.mask_fcn_logits": 1}


def _made(name):
    make = getattr(torchvision.models.detection, name)
    return make(weights=None, weights_backbone=None, num_classes=CLASSES + 1)


@torch.no_grad()
def _detecting(theirs, size):
    """torchvision's detector with outputs that differ between regions, boxes and cells, on images of this size."""
    if hasattr(theirs.transform, "size_divisible") and theirs.transform.fixed_size is None:
        theirs.transform.min_size, theirs.transform.max_size = size[:1], size[1]
    if hasattr(theirs, "roi_heads"):
        spread_outputs(theirs, deltas=0.5, objectness=0.05)
        return
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.8, 1.25)
    for head, std in ((theirs.head.classification_head, 1.5), (theirs.head.regression_head, 0.5)):
        lists = [
            layer[-1] if isinstance(layer, torch.nn.Sequential) else layer for layer in getattr(head, "module_list", [])
        ]
        for name in ("cls_logits", "bbox_reg", "bbox_ctrness"):
            lists += [getattr(head, name)] if hasattr(head, name) else []
        for layer in lists:
            spread(theirs, layer, std)


def _sized(ours, size):
    if hasattr(ours.preprocess, "min_size"):
        ours.preprocess.min_size, ours.preprocess.max_size = size
    return ours


def _same_bits(expected, state_dict):
    assert expected.keys() == state_dict.keys()
    for name, tensor in expected.items():
        skipped = OF_BACKGROUND.get(name.rpartition(".")[0], 0)
        assert torch.equal(
            state_dict[name][skipped:] if skipped else state_dict[name], tensor[skipped:] if skipped else tensor
        )
        assert not skipped or not state_dict[name][:skipped].any()


@pytest.mark.parametrize("name", EVERY)
def test_torchvisions_weights_come_back_and_detect_the_same(name):
    torch.manual_seed(0)
    theirs = _made(name)
    size = (96, 144)
    _detecting(theirs, size)
    ours = _sized(from_torchvision(name, theirs.state_dict()), size).eval()
    exported = to_torchvision(ours)
    assert exported.name == name
    _same_bits(theirs.state_dict(), exported.state_dict)
    list(paired(exported.build(), ours, random_images(1)))


def test_every_detector_that_comes_can_leave():
    assert LAYOUTS.keys() == BUILDERS.keys()
