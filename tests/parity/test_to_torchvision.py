"""A detector of ours that leaves for torchvision: the same bits come back, and the same detections."""

import copy
from functools import partial

import pytest
import torch
import torchvision
from scipy.optimize import linear_sum_assignment
from torchvision_twins import make_small_twins, paired, random_images

from detkit.backbones import TorchvisionBackbone
from detkit.errors import InputError
from detkit.heads import FCOSHead, RetinaNetHead, SoftNMS
from detkit.models import FCOS, RetinaNet
from detkit.necks import FPN, StridedConvolutions
from detkit.preprocess import ShortestEdge
from detkit.structures import Category
from detkit.weights import from_torchvision, to_torchvision
from detkit.weights.leaving.torchvision_export import LAYOUTS
from detkit.weights.torchvision_weights import BUILDERS

CLASSES = 3
QUICK = {"maskrcnn_resnet50_fpn", "ssdlite320_mobilenet_v3_large"}
EVERY = [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in BUILDERS]
# torchvision has them for the background, and reads none of them: this many of the first.
UNREAD = {"roi_heads.box_predictor.bbox_pred": 4, "roi_heads.mask_predictor.mask_fcn_logits": 1}
ARGUMENTS = {"weights": None, "weights_backbone": None, "num_classes": CLASSES + 1}


@pytest.mark.parametrize("name", EVERY)
def test_the_same_bits_come_back_for_the_same_arguments(name):
    theirs = getattr(torchvision.models.detection, name)(**ARGUMENTS).state_dict()
    model = from_torchvision(name, theirs)
    model.categories = [Category(7, "cat"), Category(8, "dog"), Category(9, "hen")]
    exported = to_torchvision(model)
    assert exported.name == name
    keypoints = {"num_keypoints": 17} if name.startswith("keypoint") else {}
    assert exported.arguments == ARGUMENTS | keypoints
    assert exported.categories == ["__background__", "cat", "dog", "hen"]
    assert exported.state_dict.keys() == theirs.keys()
    for key, tensor in theirs.items():
        unread = UNREAD.get(key.rpartition(".")[0], 0)
        back = exported.state_dict[key]
        assert torch.equal(back[unread:], tensor[unread:]) if unread else torch.equal(back, tensor)
        assert not unread or not back[:unread].any()


def test_every_detector_that_comes_can_leave():
    assert LAYOUTS.keys() == BUILDERS.keys()


@pytest.fixture(scope="module")
def faster_rcnn():
    _, ours = make_small_twins("fasterrcnn_resnet50_fpn", 0, CLASSES, detections=30, proposals=100)
    return ours


@pytest.fixture(scope="module")
def state_dict():
    """Of torchvision's smallest detector."""
    return torchvision.models.detection.ssdlite320_mobilenet_v3_large(**ARGUMENTS).state_dict()


class TestSettings:
    """Detections are the same where a detector was trained with other settings than torchvision's."""

    @pytest.mark.slow
    def test_of_a_faster_rcnn(self, faster_rcnn):
        ours = copy.deepcopy(faster_rcnn)
        ours.region_pool.aligned = True
        ours.region_pool.canonical_size = 112
        ours.rpn.anchor_generator.base0 += 1.5
        ours.rpn.postprocess.iou_threshold = 0.6
        ours.box_head.postprocess.iou_threshold = 0.4
        ours.box_head.postprocess.score_threshold = 0.1
        ours.preprocess.mean += 0.02
        exported = to_torchvision(ours)
        assert exported.arguments["rpn_nms_thresh"] == 0.6
        assert exported.arguments["box_detections_per_img"] == 30
        list(paired(exported.build(), ours, random_images(1)))

    @pytest.mark.slow
    def test_of_batch_norm(self, faster_rcnn):
        ours = copy.deepcopy(faster_rcnn)
        for module in ours.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eps = 0.1
        exported = to_torchvision(ours)
        assert exported.batch_norm_epsilon == 0.1
        list(paired(exported.build(), ours, random_images(2)))

    @pytest.mark.parametrize(
        ("kind", "head"),
        [(RetinaNet, RetinaNetHead), (FCOS, partial(FCOSHead, location_offset=0.0)), (FCOS, FCOSHead)],
        ids=["RetinaNet", "FCOS", "FCOS at the centers of cells"],
    )
    def test_without_a_logit_for_background(self, kind, head):
        torch.manual_seed(0)
        backbone = TorchvisionBackbone("resnet50", stages=[3, 4, 5])
        neck = partial(FPN, extra_levels=StridedConvolutions)
        ours = kind(backbone, CLASSES, neck, head, preprocess=ShortestEdge(64, 96)).eval()
        torch.nn.init.normal_(ours.head.classes.weight, std=0.02)
        torch.nn.init.zeros_(ours.head.classes.bias)
        # All boxes: those of an untrained net overlap by equal shares, and which of them goes first is chance. Many are
        # cut at the image to the same box, so that each has its twin by box and score together.
        select = ours.head.postprocess
        select.score_threshold, select.iou_threshold, select.candidates, select.detections = 0.5, 1.0, 9999, 9999
        assert ours.head.logits == CLASSES
        images = random_images(1)[:1]
        with torch.inference_mode():
            (theirs,), (detections,) = to_torchvision(ours).build()(images), ours(images)
        assert len(theirs["boxes"]) == len(detections) > 50
        distance = (theirs["boxes"][:, None] - detections.boxes).abs().amax(dim=2)
        distance += 100 * (theirs["scores"][:, None] - detections.scores).abs()
        distance[(theirs["labels"] - 1)[:, None] != detections.labels] = 1e6
        assert distance[linear_sum_assignment(distance)].max() < 1e-2


class TestRefusals:
    def test_of_other_layers(self):
        backbone = TorchvisionBackbone("resnet18", stages=[3, 4, 5])
        with pytest.raises(InputError, match="no detector with the layers of this RetinaNet"):
            to_torchvision(RetinaNet(backbone, CLASSES))

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            (lambda model: setattr(model.preprocess, "size", 300), r"preprocess.size is 300, in torchvision 320"),
            (
                lambda model: setattr(model.head, "postprocess", SoftNMS(0.3)),
                r"head.postprocess is detkit.heads.postprocess.suppression.SoftNMS",
            ),
            (lambda model: setattr(model.head.default_boxes, "clip", False), r"head.default_boxes.clip is False"),
        ],
    )
    def test_of_settings_without_an_argument(self, state_dict, change, sentence):
        model = from_torchvision("ssdlite320_mobilenet_v3_large", state_dict)
        change(model)
        with pytest.raises(InputError, match=sentence):
            to_torchvision(model)

    @pytest.mark.slow
    def test_of_biases_that_torchvision_lacks(self):
        theirs = torchvision.models.detection.retinanet_resnet50_fpn_v2(**ARGUMENTS).state_dict()
        model = from_torchvision("retinanet_resnet50_fpn_v2", theirs)
        bias = model.head.class_tower[0][0].bias
        assert not bias.requires_grad
        bias.data += 1
        with pytest.raises(InputError, match=r"head.class_tower.0.0.bias is not zero"):
            to_torchvision(model)
