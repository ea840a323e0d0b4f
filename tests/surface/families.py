"""The recipes of the checkpoints that were made by 0e2a452: one small model of each family, with the keys of then."""

from __future__ import annotations

from typing import Any

CLASSES = 3

_SHORT_EDGE = {"class_path": "detkit.models.ShortestEdge", "init_args": {"min_size": 64, "max_size": 96}}
_LETTERBOX = {"class_path": "detkit.models.preprocess.Letterbox", "init_args": {"size": [96, 96]}}
_SQUARE = {"class_path": "detkit.models.Square", "init_args": {"size": 96}}
_HIDDEN = {"class_path": "TwoFullyConnected", "init_args": {"hidden": 16}}
_ANCHORS = [[[10, 13], [30, 22]], [[33, 36], [48, 60]]]
_SEARCH = {"class_path": "SelectiveSearch", "init_args": {"width": None, "min_size": 8, "max_proposals": 40}}


def _tiny(*stages: int, width: float = 0.25) -> dict[str, Any]:
    return _part("DarknetTiny", width=width, stages=list(stages))


def _part(class_path: str, /, **init_args: Any) -> dict[str, Any]:
    return {"class_path": class_path, "init_args": init_args}


def _box_head(**init_args: Any) -> dict[str, Any]:
    return _part("BoxHead", trunk=_HIDDEN, nms_threshold=0.4, detections_per_image=12, **init_args)


def _on_pyramid(name: str, **init_args: Any) -> dict[str, Any]:
    parts = {
        "backbone": _tiny(2, 3, 4),
        "neck": _part("FPN", out_channels=8, extra_levels=None, batch_norm=True),
        "rpn": _part("RPN", anchor_sizes=[[16], [28], [44]], candidates=40, proposals=20, score_threshold=0.01),
        "box_head": _box_head(),
        "region_pool": _part("RegionAlign", resolution=4),
        "regions_per_image": 32,
        "preprocess": _SHORT_EDGE,
    }
    return _part(name, **(parts | init_args))


def _dense(name: str, head: dict[str, Any], **init_args: Any) -> dict[str, Any]:
    neck = _part("FPN", out_channels=16, extra_levels=None, batch_norm=True)
    return _part(
        name, **({"backbone": _tiny(2, 3, 4), "neck": neck, "head": head, "preprocess": _SHORT_EDGE} | init_args)
    )


_RESULTS = {"score_threshold": 0.05, "nms_threshold": 0.4, "candidates": 200, "detections": 12}
_SSD = {"sizes": [16, 32, 48, 72], "aspect_ratios": [[2], [2], [2]], "score_threshold": 0.05, "nms_threshold": 0.4}
_SSD |= {"candidates": 60, "detections": 12}

DARKNET_CFG = """
[net]
width=96
height=64
channels=3

[convolutional]
batch_normalize=1
filters=8
size=3
stride=2
pad=1
activation=leaky

[maxpool]
size=2
stride=2

[convolutional]
batch_normalize=1
filters=16
size=3
stride=2
pad=1
activation=mish

[convolutional]
filters=16
size=1
activation=linear

[yolo]
mask=0,1
anchors=14,18, 33,36
classes=3
num=2
scale_x_y=1.1

[route]
layers=-3

[convolutional]
batch_normalize=1
filters=16
size=3
stride=2
pad=1
activation=leaky

[convolutional]
filters=8
size=1
activation=linear

[yolo]
mask=2
anchors=14,18, 33,36, 50,60
classes=3
num=3
"""

# By family: how the model is built.
MODELS: dict[str, dict[str, Any]] = {
    "faster_rcnn": _on_pyramid("FasterRCNN"),
    "faster_rcnn_c4": _on_pyramid(
        "FasterRCNN",
        backbone=_tiny(3, width=1.0),
        neck=None,
        rpn=_part("RPN", anchor_sizes=[[20, 40]], candidates=40, proposals=20),
        region_pool=_part(
            "RegionStage",
            pool=_part("RegionAlign", resolution=6),
            name="resnet18",
            layer="layer3",
            frozen_batch_norm=False,
        ),
        box_head=_part("BoxHead", trunk=_part("AveragePool"), detections_per_image=12),
    ),
    "mask_rcnn": _on_pyramid("MaskRCNN", mask_head=_part("MaskHead", channels=8, convolutions=1, resolution=7)),
    "keypoint_rcnn": _on_pyramid(
        "KeypointRCNN",
        keypoint_head=_part("KeypointHead", num_keypoints=2, channels=16, convolutions=2, resolution=7),
        preprocess=_part("detkit.models.SmoothShortestEdge", min_size=64, max_size=96),
    ),
    "cascade_rcnn": _on_pyramid(
        "CascadeRCNN", box_head=_box_head(class_agnostic=True), stage_ious=[0.4, 0.5], stage_weights=[1.0, 0.5]
    ),
    "fast_rcnn": _part(
        "FastRCNN",
        backbone=_tiny(3),
        proposals=_SEARCH,
        box_head=_box_head(),
        region_pool=_part("RegionMaxPool", resolution=3),
        preprocess=_SHORT_EDGE,
    ),
    "rcnn": _part(
        "RCNN",
        backbone=_tiny(4),
        proposals=_SEARCH,
        layers=_HIDDEN,
        region_pool=_part("RegionWarp", resolution=32, context=2),
        box_head=_part("SVMBoxHead", nms_threshold=0.3, detections_per_image=12),
        preprocess=_part("detkit.models.OriginalSize", divisor=16),
    ),
    "yolo_v1": _part(
        "YOLOv1",
        backbone=_part("YOLOv1Trunk", width=1 / 32, stages=[4]),
        head=_part("YOLOv1Head", side=6, hidden=32, dropout=0.0, **_RESULTS),
        preprocess=_part("detkit.models.preprocess.Stretch", size=[96, 96]),
    ),
    "yolo_v2": _part(
        "YOLOv2",
        backbone=_part("Darknet19", width=1 / 32, stages=[3, 4]),
        neck=_part("Passthrough", channels=16, fine_channels=4),
        head=_part("YOLOv2Head", anchors=[[[16, 20], [36, 32], [48, 60]]], prior_images=0, **_RESULTS),
        preprocess=_LETTERBOX,
    ),
    "yolo_v3": _part(
        "YOLOv3",
        backbone=_part("Darknet53", width=1 / 8, depths=[1, 1, 1, 1], stages=[3, 4]),
        neck=_part("YOLOv3Neck", channels=[12, 16], convolutions=[1, 3]),
        head=_part("YOLOv3Head", anchors=_ANCHORS, **_RESULTS),
        preprocess=_LETTERBOX,
    ),
    "yolo_v4": _part(
        "YOLOv4",
        backbone=_part("CSPDarknet53", width=1 / 8, depths=[1, 1, 1, 1], stages=[3, 4]),
        neck=_part("PAN", channels=[8, 12], convolutions=1),
        head=_part("YOLOv4Head", anchors=_ANCHORS, scale_x_y=[1.2, 1.1], **_RESULTS),
        preprocess=_LETTERBOX,
    ),
    "ssd": _dense(
        "SSD",
        _part("SSDHead", **_SSD),
        backbone=_tiny(3, 4),
        neck=_part("ExtraLayers", layers=[[8, 16, 3, 2, 1]]),
        preprocess=_SQUARE,
    ),
    "ssdlite": _dense(
        "SSDlite",
        _part("SSDliteHead", **_SSD),
        backbone=_tiny(3, 4),
        neck=_part("SeparableExtraLayers", extra_channels=[16]),
        preprocess=_SQUARE,
    ),
    "retinanet": _dense(
        "RetinaNet",
        _part("RetinaNetHead", anchor_sizes=[[16], [28], [44]], convolutions=1, group_norm=True, **_RESULTS),
    ),
    "fcos": _dense("FCOS", _part("FCOSHead", range_limits=[24, 40], convolutions=1, **_RESULTS)),
    "overfeat": _part(
        "OverFeat",
        backbone=_tiny(2, width=0.5),
        scales=[1.0, 0.7, 0.5],
        head=_part(
            "OverFeatHead",
            pool=2,
            window=3,
            class_hidden=[24],
            box_hidden=[16],
            resolve="nms",
            score_threshold=0.05,
            candidates=100,
            nms_threshold=0.35,
            detections_per_image=12,
        ),
        preprocess=_SHORT_EDGE,
    ),
    "classifier": _part(
        "Classifier",
        net=_tiny(4),
        head=_part("ClassificationHead", answers=3),
        preprocess=_part("detkit.models.CenterCrop", size=[48, 64], shorter_side=64),
    ),
    "localizer": _part(
        "Localizer",
        backbone=_tiny(4),
        head=_part("LocalizationHead", grid=2, hidden=16, answers=2),
        preprocess=_part("detkit.models.Stretch", size=[64, 64]),
    ),
    "darknet": _part(
        "detkit.weights.darknet_models.DarknetDetector",
        network=_part("detkit.weights.darknet_network.Darknet", cfg=DARKNET_CFG, file="small.cfg"),
        score_threshold=0.05,
        nms_threshold=0.3,
    ),
}

# By family: what else stood in the config of the training run that wrote the checkpoint. The others were written by
# `save_model` for models built by hand.
RUNS: dict[str, dict[str, Any]] = {
    "faster_rcnn": {},
    "mask_rcnn": {"data": {"with_masks": True}, "evaluate": ["bbox", "segm"]},
    "keypoint_rcnn": {
        "data": {"with_keypoints": True},
        "evaluate": ["keypoints", "bbox"],
        "keypoint_sigmas": [0.1, 0.1],
    },
    "rcnn": {},
    "yolo_v3": {"ema": 0.98},
    "retinanet": {"ema": 0.99},
    "classifier": {"data": {"image_class": "largest"}, "evaluate": ["classification"]},
    "localizer": {"data": {"image_class": "largest"}, "evaluate": ["localization", "classification", "bbox"]},
}
