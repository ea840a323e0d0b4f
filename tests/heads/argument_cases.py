"""Other values for the scalar arguments of every head, and the outcomes in which they must differ."""

import typing
from dataclasses import replace
from functools import partial

import torch
from contexts import context_of
from torch import nn

from detkit import heads
from detkit.backbones import SegNetBasicEncoder, SegNetEncoder
from detkit.heads import Regions
from detkit.heads.image.shape.camera_views import CameraViews
from detkit.models import RegionAlign
from detkit.models.two_stage.region_pool import Crops
from detkit.structures import Detections, Meshes, PointClouds, Target
from detkit.structures.meshes import icosphere

CLASSES, SIZE, CHANNELS = 3, (96, 128), 6
STRIDES = [8, 16, 32]
ANCHORS = [[(8.0, 10.0), (14.0, 9.0)], [(20.0, 24.0), (30.0, 18.0)], [(44.0, 60.0), (90.0, 70.0)]]
THREE = {"in_channels": [CHANNELS] * 3, "strides": STRIDES, "num_classes": CLASSES}
SSD_SIZES = [14, 24, 80, 120]
CAMERA = torch.tensor([[80.0, 0, 35], [0, 80, 40], [0, 0, 1]])

NO_EFFECT = {
    ("KeypointHead", "num_classes"): "a branch is built with it, but the keypoints are those of all classes",
    ("VoxelHead", "num_classes"): "all classes share the cells",
    ("MeshHead", "num_classes"): "all classes share the head",
    ("AveragePool", "resolution"): "the mean over a crop of any size",
    ("RegionNetwork", "in_channels"): "must be what the backbone takes",
    ("ScoreSkipHead", "learned_upsampling"): "trains the kernels, which begin alike",
}
"""By class and argument the reason why another value makes no difference."""


class Case(typing.NamedTuple):
    """A class, arguments that it is built with, other values of its scalar arguments, and what is compared."""

    name: str
    base: dict
    others: dict
    outcome: typing.Callable


def _targets():
    generator = torch.Generator().manual_seed(3)
    targets = []
    for _ in range(2):
        sides = 12 + torch.rand(5, 2, generator=generator) * 40
        corners = torch.rand(5, 2, generator=generator) * (torch.tensor([70.0, 80.0]) - sides)
        boxes = torch.cat((corners, corners + sides), dim=1)
        labels = torch.randint(CLASSES, (5,), generator=generator)
        points = corners[:, None] + torch.rand(5, 2, 2, generator=generator) * sides[:, None]
        keypoints = torch.cat((points, torch.full((5, 2, 1), 2.0)), dim=2)
        masks = torch.rand(5, 80, 70, generator=generator) > 0.3
        crowd = torch.arange(5) == 4
        shapes = _ellipsoids(boxes)
        points = PointClouds([one[::2] for one in shapes.vertices_list()])
        targets.append(
            Target(
                boxes, labels, masks, keypoints, crowd, image_label=int(labels[0]),
                camera=CAMERA, meshes=shapes, voxels=points,
            )
        )  # fmt: skip
    return targets


def _ellipsoids(boxes):
    """At distance 4, each as wide as its box and with a depth of its own."""
    sphere, meshes = icosphere(1), []
    for number, box in enumerate(boxes):
        low, high = ((corner - CAMERA[:2, 2]) / 20 for corner in box.view(2, 2))
        across = sphere.vertices[:, :2] * (high - low) / 2 + (high + low) / 2
        meshes.append(torch.cat((across, 4 + (0.5 + number / 4) * sphere.vertices[:, 2:]), dim=1))
    return Meshes(meshes, [sphere.faces] * len(boxes))


def _context(targets=None, size=SIZE):
    context = context_of([(80, 70)] * 2, targets, padded_size=size, generator=torch.Generator().manual_seed(5))
    return replace(context, given=[Target(camera=CAMERA)] * 2)


def _dense(head, size=SIZE, strides=STRIDES):
    generator = torch.Generator().manual_seed(7)
    features = [torch.randn(2, CHANNELS, size[0] // s, size[1] // s, generator=generator) for s in strides]
    learning, seeing = _context(_targets(), size), _context(size=size)
    losses = head.train().losses(head(features, learning), learning)
    raw = head.eval()(features, learning)
    candidates = head.candidates(raw, seeing)
    detections = head.propose(raw, seeing) if isinstance(head, heads.RPN) else head.decode(raw, seeing)
    return losses, candidates.boxes, candidates.scores(), head.assign(raw, learning), detections


def _yolo_v1(head):
    return _dense(head, (96, 96))


def _one_map(head):
    return _dense(head, strides=[32])


def _image(head):
    return _of_image(head, torch.randn(2, CHANNELS, 5, 5, generator=torch.Generator().manual_seed(7)))


def _logits(head):
    return _of_image(head, tuple(torch.randn(3, 2, CLASSES, generator=torch.Generator().manual_seed(7))))


def _of_image(head, features):
    context = _context(_targets())
    losses = head.train().losses(head(features, context), context)
    raw = head.eval()(features, context)
    return losses, head.decode(raw, context)


def _pixels(head, strides=STRIDES):
    generator = torch.Generator().manual_seed(7)
    features = [torch.randn(2, CHANNELS, SIZE[0] // s, SIZE[1] // s, generator=generator) for s in strides]
    return _of_pixels(head, features)


def _stuff(head):
    head.know_things_([False] * head.num_classes)
    return _pixels(head)


def _unpooled(encoder, head):
    torch.manual_seed(3)
    images = torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(7))
    return _of_pixels(head, encoder(1 / 64).eval()(images))


def _of_pixels(head, features):
    generator = torch.Generator().manual_seed(9)
    weights = torch.rand(80, 70, generator=generator)
    maps = torch.randint(CLASSES, (2, 80, 70), dtype=torch.uint8, generator=generator)
    learning = _context([Target(label_map=one, pixel_weights=weights) for one in maps])
    torch.manual_seed(5)
    losses = head.train().losses(head(features, learning), learning)
    raw = head.eval()(features, learning)
    return losses, raw.logits, [answer.label_map for answer in head.decode(raw, learning)]


def _crops(resolution=4):
    features = torch.randn(2, CHANNELS, 24, 32, generator=torch.Generator().manual_seed(7))
    return Crops(RegionAlign(resolution), [features], [4])


def _regions():
    targets = _targets()
    boxes = [target.objects().boxes + 2 for target in targets]
    labels = torch.cat([target.objects().labels for target in targets])
    labels[1] = -1
    regions = Regions.of_images(boxes)
    return Regions(regions.boxes, regions.image_index, labels, torch.arange(len(labels)))


def _box_branch(head):
    crop, regions, learning = _crops(), _regions(), _context(_targets())
    losses = head.train().losses(head(crop, regions, {}, learning), regions, {}, learning)
    seeing = _context()
    raw = head.eval()(crop, regions, {}, seeing)
    return losses, head.decode(raw, regions, {}, None, seeing), head.candidates(raw, regions, {}, seeing).boxes


def _branch(head, before=()):
    crop, regions, learning = _crops(), _regions().foreground(), _context(_targets())
    so_far = {number: branch(crop, regions, {}, learning) for number, branch in enumerate(before)}
    losses = head.train().losses(head(crop, regions, so_far, learning), regions, so_far, learning)
    counts = [len(regions.boxes[regions.image_index == image]) for image in range(2)]
    detections = [
        Detections(boxes, torch.ones(len(boxes)), labels)
        for boxes, labels in zip(regions.boxes.split(counts), regions.labels.split(counts), strict=True)
    ]
    raw = head.eval()(crop, regions, so_far, _context())
    return losses, raw, head.decode(raw, regions, so_far, detections, _context())


def _shape(head):
    """A branch after those of depth and voxels, which differ where `head` learns from meshes or voxels."""
    torch.manual_seed(3)
    before = [heads.DepthHead(CHANNELS, 4, 4, 8), heads.VoxelHead(CHANNELS, 4, 4, 1, resolution=3)]
    if isinstance(head, heads.MeshHead):
        for stage in head.refinement.stages:
            nn.init.normal_(stage.offset.weight, std=0.1)
    return _branch(head, before)


def _single_objects():
    """A context of two images with an object each, whose voxels are the corners of its mesh, and what cameras see."""
    sphere = icosphere(0)
    meshes = [sphere.with_vertices(size * sphere.vertices + torch.tensor([0.1, 0.0, 1.5])) for size in (0.3, 0.2)]
    context = _context([Target(meshes=one, voxels=PointClouds([one.vertices])) for one in meshes])
    return context, CameraViews.of(context, 2.0, (1.0, 2.0))


def _image_voxels(head):
    context, views = _single_objects()
    logits = head(torch.randn(2, CHANNELS, 5, 4), context)
    surfaces = head.surfaces(head.probabilities(logits))
    return head.losses(logits, context, views), logits, surfaces.vertices


def _image_meshes(head):
    context, views = _single_objects()
    meshes = Meshes.cat([target.meshes for target in context.truth])
    stages = head([torch.randn(2, CHANNELS, 5, 4), torch.randn(2, CHANNELS, 3, 2)], meshes, views)
    return head.losses(stages, context), stages[-1].vertices


def _extractor(network):
    crops = torch.randn(5, CHANNELS, 4, 4, generator=torch.Generator().manual_seed(7))
    return network.train()(crops), network.eval()(crops)


def _postprocess(part):
    generator = torch.Generator().manual_seed(7)
    corners, sides = torch.rand(200, 2, generator=generator) * 40, 10 + torch.rand(200, 2, generator=generator) * 30
    boxes, scores = torch.cat((corners, corners + sides), dim=1), torch.rand(200, generator=generator)
    labels, images = torch.randint(2, (200,), generator=generator), torch.arange(2).repeat_interleave(100)
    return part(boxes, scores, labels, images, [(80, 70)] * 2)


def _sampler(sampler):
    return sampler(_regions(), _context(_targets()))


class AnyMap(nn.Module):
    """A backbone whose map has as many cells as its input, of two channels, whatever it is given."""

    channels, strides = [2], [1]

    def forward(self, images):
        return [images[:, :1].expand(-1, 2, -1, -1)]


DENSE_TOWERS = {"num_classes": 4, "convolutions": 2, "background_logit": True}
IOUS = {"foreground_iou": 0.75, "background_iou": 0.1}
OVERFEAT = THREE | {"window": 1, "class_hidden": (8,), "box_hidden": (8,)}
YOLO_V1 = THREE | {"side": 3, "hidden": 8}
YOLO_V2 = {"in_channels": [CHANNELS], "strides": [32], "num_classes": CLASSES, "anchors": [ANCHORS[2]]}
CROP = {"in_channels": CHANNELS, "resolution": 4}
BRANCH = {"in_channels": CHANNELS, "num_classes": CLASSES, "channels": 4, "convolutions": 1}
# Two fully connected layers as of a torchvision classifier, which replace "FILE".
WEIGHTS = {
    "classifier.0.weight": torch.ones(8, CHANNELS * 16),
    "classifier.0.bias": torch.ones(8),
    "classifier.3.weight": torch.ones(8, 8),
    "classifier.3.bias": torch.ones(8),
}
SMALL = partial(heads.TwoFullyConnected, hidden=8)
PIXELS = {"channels": [CHANNELS] * 3, "strides": STRIDES, "num_classes": CLASSES}
FINE = [1, 2, 4]
GROUPED = {"hidden": 8, "groups": 2}


def _encoder(encoder):
    """What a head of SegNet is built with for an encoder."""
    built = encoder(1 / 64)
    return {
        "channels": built.channels, "strides": built.strides, "num_classes": CLASSES, "levels": built.levels
    }  # fmt: skip


LIMITS = {"score_threshold": 0.5, "candidates": 7, "detections": 3}

CASES = [
    Case(
        "RetinaNetHead",
        THREE | {"convolutions": 1},
        DENSE_TOWERS | IOUS | {"group_norm": True, "alpha": 0.5, "gamma": 1.0, "box_loss": "giou"},
        _dense,
    ),
    Case(
        "FCOSHead", THREE | {"convolutions": 1}, DENSE_TOWERS | {"center_radius": 0.5, "location_offset": 0.0}, _dense
    ),
    *(
        Case(
            name,
            THREE | {"sizes": SSD_SIZES},
            {"num_classes": 4, "clip": clip, "foreground_iou": 0.3, "negatives_per_positive": 1.0},
            _dense,
        )
        for name, clip in (("SSDHead", True), ("SSDliteHead", False))
    ),
    Case(
        "OverFeatHead",
        OVERFEAT,
        IOUS
        | {"num_classes": 4, "pool": 2, "window": 2, "keep_best": False}
        | {"positives_per_image": 1, "negatives_per_image": 2},
        _dense,
    ),
    Case(
        "YOLOv1Head",
        YOLO_V1,
        {"num_classes": 4, "side": 4, "boxes_per_cell": 3, "hidden": 9, "local": True, "dropout": 0.0}
        | {"coord_scale": 1.0, "background_scale": 1.0},
        _yolo_v1,
    ),
    Case(
        "YOLOv2Head",
        YOLO_V2,
        {"num_classes": 4, "ignore_iou": 0.05, "object_scale": 1.0, "background_scale": 2.0, "prior_images": 0},
        _one_map,
    ),
    Case("YOLOv3Head", THREE | {"anchors": ANCHORS}, {"num_classes": 4, "ignore_iou": 0.05}, _dense),
    Case(
        "YOLOv4Head",
        THREE | {"anchors": ANCHORS},
        {"num_classes": 4, "new_coords": True, "anchor_iou": 0.6, "ignore_iou": 0.05},
        _dense,
    ),
    Case(
        "RPN",
        {"in_channels": [CHANNELS] * 3, "strides": STRIDES, "anchor_sizes": [[18], [36], [70]]},
        {"foreground_iou": 0.4, "background_iou": 0.1, "samples_per_image": 20, "foreground_fraction": 0.01}
        | {"convolutions": 2, "exact_anchors": True, "least_background_iou": 0.2},
        _dense,
    ),
    Case(
        "ClassificationHead",
        {"in_channels": CHANNELS, "num_classes": CLASSES},
        {"in_channels": 7, "num_classes": 4, "label_smoothing": 0.1, "dropout": 0.5, "answers": 2},
        _image,
    ),
    Case("ClassificationHead", {"in_channels": None, "num_classes": CLASSES}, {"auxiliary_weight": 1.0}, _logits),
    Case(
        "LocalizationHead",
        {"in_channels": CHANNELS, "num_classes": CLASSES, "hidden": 8},
        {"in_channels": 7, "num_classes": 4, "grid": 3, "hidden": 9, "class_agnostic": True, "box_loss": "l2"}
        | {"label_smoothing": 0.1, "answers": 2},
        _image,
    ),
    *(
        Case(
            name,
            CROP | {"num_classes": CLASSES, "trunk": SMALL},
            {"in_channels": 7, "resolution": 5, "num_classes": 4, "class_agnostic": True},
            _box_branch,
        )
        for name in ("BoxHead", "SVMBoxHead")
    ),
    Case(
        "BoxCascade",
        CROP | {"num_classes": CLASSES, "box_head": partial(heads.BoxHead, trunk=SMALL), "ious": (0.5, 0.6)},
        {"in_channels": 7, "resolution": 5, "num_classes": 4},
        _box_branch,
    ),
    Case(
        "MaskHead",
        BRANCH,
        {"in_channels": 7, "num_classes": 4, "channels": 5, "convolutions": 2, "batch_norm": True}
        | {"resolution": 7, "threshold": 0.9, "run_lengths": True},
        _branch,
    ),
    Case(
        "KeypointHead",
        BRANCH | {"num_keypoints": 2},
        {"in_channels": 7, "num_classes": 4, "num_keypoints": 3, "channels": 5, "convolutions": 2, "resolution": 7},
        _branch,
    ),
    Case(
        "DepthHead",
        {"in_channels": CHANNELS, "num_classes": CLASSES, "resolution": 4, "hidden": 8},
        {"in_channels": 7, "num_classes": 4, "resolution": 5, "hidden": 9},
        _shape,
    ),
    Case(
        "VoxelHead",
        BRANCH | {"resolution": 3},
        {"in_channels": 7, "num_classes": 4, "channels": 5, "convolutions": 2, "batch_norm": True, "resolution": 4}
        | {"threshold": 0.9, "truth": "voxels"},
        _shape,
    ),
    Case(
        "MeshHead",
        BRANCH | {"resolution": 4, "samples": 20},
        {"in_channels": 7, "num_classes": 4, "channels": 5, "stages": 2, "convolutions": 2, "resolution": 5}
        | {"sphere_level": 0, "subdivide": True, "samples": 30, "max_coordinate": 0.1},
        _shape,
    ),
    Case(
        "ImageVoxelHead",
        {"in_channels": CHANNELS, "voxels": 6, "channels": 4, "convolutions": 1},
        {"in_channels": 7, "voxels": 8, "channels": 5, "convolutions": 2, "threshold": 0.9, "truth": "meshes"},
        _image_voxels,
    ),
    Case(
        "ImageMeshHead",
        {"in_channels": [CHANNELS] * 2, "channels": 4, "samples": 20},
        {"channels": 5, "stages": 2, "convolutions": 2, "subdivide": True, "samples": 30},
        _image_meshes,
    ),
    Case(
        "TwoFullyConnected",
        CROP | {"hidden": 8},
        {"in_channels": 7, "resolution": 5, "hidden": 9, "layer_norm": True, "dropout": 0.5, "weights": "FILE"},
        _extractor,
    ),
    Case(
        "ConvolutionsThenFullyConnected",
        CROP | {"channels": 4, "convolutions": 1, "hidden": 8},
        {"in_channels": 7, "resolution": 5, "channels": 5, "convolutions": 2, "hidden": 9},
        _extractor,
    ),
    Case("AveragePool", CROP, {"in_channels": 7, "resolution": 5}, _extractor),
    Case(
        "RegionNetwork", CROP | {"backbone": AnyMap(), "layers": SMALL}, {"in_channels": 7, "resolution": 5}, _extractor
    ),
    Case("RegionSampler", {"count": 8}, {"count": 3, "foreground_fraction": 0.9}, _sampler),
    Case("NMS", {}, LIMITS | {"iou_threshold": 0.8}, _postprocess),
    Case("SoftNMS", {}, LIMITS | {"iou_threshold": 0.8, "method": "hard"}, _postprocess),
    Case("SoftNMS", {"method": "gaussian"}, {"sigma": 0.1}, _postprocess),
    Case("TopK", {}, LIMITS, _postprocess),
    Case("MergeBoxes", {}, LIMITS | {"match_threshold": 0.9}, _postprocess),
    Case("FCNHead", PIXELS, {"num_classes": 4, "level": -2}, _pixels),
    Case("ScoreSkipHead", PIXELS, {"num_classes": 4, "skips": 1, "learned_upsampling": True}, _pixels),
    Case(
        "UNetHead",
        PIXELS | {"strides": FINE},
        {"num_classes": 4, "padded": False, "weighted": True},
        partial(_pixels, strides=FINE),
    ),
    Case("SegNetHead", _encoder(SegNetEncoder), {"num_classes": 4}, partial(_unpooled, SegNetEncoder)),
    Case("SegNetBasicHead", _encoder(SegNetBasicEncoder), {"num_classes": 4}, partial(_unpooled, SegNetBasicEncoder)),
    Case("DeepLabV3Head", PIXELS | {"width": 8}, {"num_classes": 4, "width": 6, "dropout": 0.9}, _pixels),
    Case(
        "DeepLabV3PlusHead",
        PIXELS | {"width": 8, "low_width": 4},
        {"num_classes": 4, "width": 6, "low_width": 5, "dropout": 0.9, "separable": False},
        _pixels,
    ),
    Case("LRASPPHead", PIXELS | {"width": 8}, {"num_classes": 4, "width": 6}, _pixels),
    Case("SemanticFPNHead", PIXELS | GROUPED, {"num_classes": 4, "hidden": 12, "groups": 4}, _pixels),
    Case("StuffHead", PIXELS | GROUPED, {"num_classes": 4, "hidden": 12, "groups": 4}, _stuff),
]
