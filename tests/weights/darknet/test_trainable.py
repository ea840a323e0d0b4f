"""Darknet's files in detkit's trainable YOLOs: the same boxes and scores as the imported network."""

from functools import partial

import darknet_cfgs as cfgs
import pytest
import torch
from torch import nn

from detkit.backbones import CSPDarknet53, CSPDarknetTiny, Darknet19, Darknet53, DarknetTiny
from detkit.errors import InputError
from detkit.heads import YOLOv2Head, YOLOv3Head, YOLOv4Head
from detkit.models import RetinaNet, YOLOv2, YOLOv3, YOLOv4
from detkit.models.transfer.load_given import load_given
from detkit.necks import YOLOv3Neck
from detkit.preprocess import Letterbox
from detkit.structures import Category
from detkit.weights import from_darknet, to_darknet
from detkit.weights.darknet.trainable import darknet_weights
from detkit.weights.darknet.weights_file import write_weights

TINY_ANCHORS = (((10.0, 14.0), (23.0, 27.0), (37.0, 58.0)), ((81.0, 82.0), (135.0, 169.0), (344.0, 319.0)))
V4_TINY_ANCHORS = (((23.0, 27.0), (37.0, 58.0), (81.0, 82.0)), TINY_ANCHORS[1])
TINY_NECK = partial(YOLOv3Neck, channels=[128, 256], convolutions=[0, 1])
COCO_OF_V2 = ((0.57273, 0.677385), (1.87446, 2.06253), (3.33843, 5.47434), (7.88282, 3.52778), (9.77052, 9.16828))


def _tiny_v3(**options):
    return YOLOv3(DarknetTiny(), neck=TINY_NECK, head=partial(YOLOv3Head, anchors=TINY_ANCHORS), **options)


def _tiny_v4(**options):
    head = partial(YOLOv4Head, anchors=V4_TINY_ANCHORS, scale_x_y=(1.05, 1.05))
    return YOLOv4(CSPDarknetTiny(), neck=TINY_NECK, head=head, **options)


def _v2(**options):
    anchors = [[(32 * width, 32 * height) for width, height in COCO_OF_V2]]
    return YOLOv2(Darknet19(), head=partial(YOLOv2Head, anchors=anchors), **options)


NETWORKS = {
    "yolov3-tiny": (cfgs.yolov3_tiny, _tiny_v3),
    "yolov4-tiny": (cfgs.yolov4_tiny, _tiny_v4),
    "yolov2": (cfgs.yolov2, _v2),
    "yolov3": (cfgs.yolov3, lambda **options: YOLOv3(Darknet53(), **options)),
    "yolov3-spp": (
        partial(cfgs.yolov3, spp=True),
        lambda **options: YOLOv3(Darknet53(), neck=partial(YOLOv3Neck, spp=True), **options),
    ),
    "yolov4": (cfgs.yolov4, lambda **options: YOLOv4(CSPDarknet53(), **options)),
}
TINY, LARGE = ["yolov3-tiny", "yolov4-tiny"], ["yolov2", "yolov3", "yolov3-spp", "yolov4"]


def _saved(saved, cfg):
    """Files of random weights whose maps are of the size of 1, as those of a trained network."""
    stem = saved(cfg, spread=0.05)
    imported = from_darknet(stem.with_suffix(".cfg"), stem.with_suffix(".weights"))
    norms = [module for module in imported.network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        imported.network.train()(torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(2)))
    for norm in norms:
        norm.running_var += 0.1
    to_darknet(imported, stem)
    return stem.with_suffix(".cfg"), stem.with_suffix(".weights")


def _model(name, classes=3, size=64):
    model = NETWORKS[name][1](num_classes=classes, preprocess=Letterbox((size, size)))
    model.categories = [Category(index, str(index)) for index in range(classes)]
    return model.eval()


@pytest.mark.parametrize("name", [*TINY, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)])
def test_a_whole_detector_predicts_what_the_imported_one_does(saved, name):
    files = _saved(saved, NETWORKS[name][0](64, classes=3))
    model, imported = _model(name), from_darknet(*files)
    report = load_given(model, darknet_weights(*files, model))
    assert report.missing == report.mismatched == report.unused == []
    assert not report.constants
    assert report.names["classes"].by_number  # neither file has names

    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        context = model.context([image[0]])
        own = model.candidates(model.heads(model.features(context.batch), context), context)
        layers = zip(imported.network.output_layers(), imported.network(image), strict=True)
        answers = sorted((layer.candidates(x, (64, 64)) for layer, x in layers), key=lambda answer: -answer[0].shape[1])
    boxes, scores = (torch.cat([answer[part] for answer in answers], dim=1)[0] for part in (0, 1))
    # The trainable batch norm adds its epsilon within the root.
    torch.testing.assert_close(own.boxes, boxes, rtol=1e-3, atol=0.05)
    torch.testing.assert_close(own.scores(), scores, rtol=1e-3, atol=1e-4)


def test_the_weights_of_the_first_layers_are_those_of_the_trunk(saved, tmp_path):
    cfg, weights = _saved(saved, NETWORKS["yolov4-tiny"][0](64, classes=3))
    network = from_darknet(cfg, weights).network
    trunk = network.stored()[:29]  # yolov4-tiny.conv.29
    part = tmp_path / "yolov4-tiny.conv.29"
    with open(part, "wb") as file:
        write_weights(file, network.header, trunk)
    model = _model("yolov4-tiny", classes=2)
    report = load_given(model, darknet_weights(cfg, part, model))
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    whole = _model("yolov4-tiny")
    load_given(whole, darknet_weights(cfg, weights, whole))
    with torch.no_grad():
        for own, given in zip(model.backbone(image), whole.backbone(image), strict=True):
            assert torch.equal(own, given)
    assert report.unused == []
    assert {name.split(".")[0] for name in report.missing} == {"neck", "head"}


def test_the_rows_of_cocos_classes_are_found_by_name(saved):
    cfg, weights = _saved(saved, NETWORKS["yolov4-tiny"][0](64))
    model = _model("yolov4-tiny", classes=2)
    model.categories = [Category(1, "dog"), Category(2, "blood cell")]
    report = load_given(model, darknet_weights(cfg, weights, model))
    assert (report.names["classes"].kept, report.names["classes"].new) == (["dog"], ["blood cell"])
    given = from_darknet(cfg, weights).network.layers[29].convolution.bias.view(3, 85)
    own = model.head.predict[1].bias.view(3, 7)
    assert torch.equal(own[:, :5], given[:, :5])
    assert torch.equal(own[:, 5], given[:, 5 + 16])  # the 17th of coco.names is dog
    assert torch.equal(own[:, 6], torch.zeros(3))


def test_other_models_are_refused(saved):
    cfg, weights = _saved(saved, NETWORKS["yolov4-tiny"][0](64, classes=3))
    with pytest.raises(InputError, match="for YOLOv2, YOLOv3 and YOLOv4, not for a RetinaNet"):
        darknet_weights(cfg, weights, RetinaNet("resnet18", 3))
    with pytest.raises(InputError, match="its first layer is not that of the YOLOv3"):
        darknet_weights(cfg, weights, _model("yolov3-tiny"))
