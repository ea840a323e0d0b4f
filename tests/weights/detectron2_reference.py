"""detectron2's R-CNNs written out in plain torch from its documentation, on tensors with its names.

Blue, green and red in 0..255, strides in the 1x1 convolutions, anchors of real-valued size around the corner of each
cell, crops shifted by half a pixel with as many samples as they have pixels, background last.
"""

import math

import torch
import torchvision
from torch.nn import functional as F

SIZES, RATIOS = (32, 64, 128, 256, 512), (0.5, 1.0, 2.0)
MEAN = torch.tensor([103.53, 116.28, 123.675]).view(3, 1, 1)
BLOCKS = {2: 3, 3: 4, 4: 6, 5: 3}  # of a ResNet-50, by stage


def random_weights(pyramid, masks, classes, seed):
    """A state dict with the names and shapes of the zoo's ResNet-50 files, that detects something."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}

    def layer(name, *shape, scale=1.0, bias=True):
        fan_in = math.prod(shape[1:])
        weights[f"{name}.weight"] = torch.randn(shape, generator=generator) * scale * math.sqrt(2 / fan_in)
        if bias:
            weights[f"{name}.bias"] = torch.randn(shape[0], generator=generator) * 0.1

    def normalized(name, *shape, scale=1.0):
        layer(name, *shape, scale=scale, bias=False)
        weights[f"{name}.norm.weight"] = torch.rand(shape[0], generator=generator) * 0.4 + 0.6
        weights[f"{name}.norm.bias"] = torch.randn(shape[0], generator=generator) * 0.1
        weights[f"{name}.norm.running_mean"] = torch.randn(shape[0], generator=generator) * 0.1
        weights[f"{name}.norm.running_var"] = torch.rand(shape[0], generator=generator) * 0.4 + 0.8

    def stage(name, number):
        width = 64 * 2 ** (number - 2)
        for block in range(BLOCKS[number]):
            incoming = 4 * width if block else (64 if number == 2 else 2 * width)
            if not block:
                normalized(f"{name}.0.shortcut", 4 * width, incoming, 1, 1, scale=0.7)
            normalized(f"{name}.{block}.conv1", width, incoming, 1, 1)
            normalized(f"{name}.{block}.conv2", width, width, 3, 3)
            normalized(f"{name}.{block}.conv3", 4 * width, width, 1, 1, scale=0.3)

    backbone = "backbone.bottom_up" if pyramid else "backbone"
    normalized(f"{backbone}.stem.conv1", 64, 3, 7, 7, scale=1 / 64)  # it sees values of 0..255
    for number in range(2, 6 if pyramid else 5):
        stage(f"{backbone}.res{number}", number)
    channels, anchors = (256, 3) if pyramid else (1024, 15)
    if pyramid:
        for number in range(2, 6):
            layer(f"backbone.fpn_lateral{number}", 256, 64 * 2**number, 1, 1, scale=0.5)
            layer(f"backbone.fpn_output{number}", 256, 256, 3, 3, scale=0.5)
        layer("roi_heads.box_head.fc1", 1024, 256 * 49)
        layer("roi_heads.box_head.fc2", 1024, 1024)
    else:
        stage("roi_heads.res5", 5)
    layer("proposal_generator.rpn_head.conv", channels, channels, 3, 3)
    layer("proposal_generator.rpn_head.objectness_logits", anchors, channels, 1, 1)
    layer("proposal_generator.rpn_head.anchor_deltas", 4 * anchors, channels, 1, 1, scale=0.2)
    vector = 1024 if pyramid else 2048
    layer("roi_heads.box_predictor.cls_score", classes + 1, vector)
    layer("roi_heads.box_predictor.bbox_pred", 4 * classes, vector)
    if masks:
        for number in range(1, 5 if pyramid else 1):
            layer(f"roi_heads.mask_head.mask_fcn{number}", 256, 256, 3, 3)
        deep = 256 if pyramid else 2048
        layer("roi_heads.mask_head.deconv", deep, 256, 2, 2)
        weights["roi_heads.mask_head.deconv.bias"] = torch.zeros(256)
        layer("roi_heads.mask_head.predictor", classes, 256, 1, 1)
    return weights


@torch.no_grad()
def spread_outputs(weights, image, pyramid):
    """Make classes and boxes differ between the regions of `image`, by 1.5 of a logit and 0.5 of a delta."""
    vectors = _vectors(weights, _seen(weights, image, pyramid, 200), pyramid)
    for name, spread in (("cls_score", 1.5), ("bbox_pred", 0.5)):
        weight, bias = (weights[f"roi_heads.box_predictor.{name}.{part}"] for part in ("weight", "bias"))
        weight *= spread / (vectors @ weight.T).std(dim=0)[:, None]
        bias.copy_(-(vectors @ weight.T).mean(dim=0))


def _seen(weights, image, pyramid, proposals):
    """The proposals of an image, and what crops boxes from its maps at a resolution."""
    height, width = image.shape[1:]
    pixels = image.flip(0) * 255 - MEAN
    divisor = 32 if pyramid else 1
    pixels = F.pad(pixels, (0, -width % divisor, 0, -height % divisor))[None]
    maps = _trunk(weights, pixels, "backbone.bottom_up." if pyramid else "backbone.", 5 if pyramid else 4)
    if pyramid:
        maps = _pyramid(weights, maps)
    strides = [4, 8, 16, 32, 64] if pyramid else [16]
    sizes = [[size] for size in SIZES] if pyramid else [SIZES]
    regions = _proposals(weights, maps, strides, sizes, (height, width), 1000 if pyramid else 6000, proposals)

    def crops(boxes, resolution):
        if pyramid:
            return _crops_of_levels(maps[:4], strides[:4], boxes, resolution)
        return _stage(weights, _crops(maps[0], 16, boxes, 14), "roi_heads.res5", 5)

    return regions, crops


def _vectors(weights, seen, pyramid):
    regions, crops = seen
    if not pyramid:
        return crops(regions, 7).mean(dim=(2, 3))
    hidden = F.relu(_linear(weights, "roi_heads.box_head.fc1", crops(regions, 7).flatten(1)))
    return F.relu(_linear(weights, "roi_heads.box_head.fc2", hidden))


@torch.no_grad()
def detect(weights, image, pyramid, proposals, detections):
    """Boxes, scores, labels and mask probabilities of `image` ``(3, H, W)``, RGB in [0, 1], not resized."""
    regions, crops = _seen(weights, image, pyramid, proposals)
    vectors = _vectors(weights, (regions, crops), pyramid)
    scores = _linear(weights, "roi_heads.box_predictor.cls_score", vectors).softmax(dim=1)[:, :-1]
    deltas = _linear(weights, "roi_heads.box_predictor.bbox_pred", vectors).unflatten(1, (-1, 4))
    boxes = _clipped(_decoded(regions[:, None], deltas / torch.tensor([10.0, 10, 5, 5])), image.shape[1:])
    region, label = torch.where(scores > 0.05)
    boxes, scores = boxes[region, label], scores[region, label]
    kept = torchvision.ops.batched_nms(boxes, scores, label, 0.5)[:detections]
    boxes, scores, labels = boxes[kept], scores[kept], label[kept]

    if "roi_heads.mask_head.predictor.weight" not in weights:
        return boxes, scores, labels, None
    hidden = crops(boxes, 14)
    number = 1
    while f"roi_heads.mask_head.mask_fcn{number}.weight" in weights:
        hidden = F.relu(_conv(weights, f"roi_heads.mask_head.mask_fcn{number}", hidden, padding=1))
        number += 1
    name = "roi_heads.mask_head.deconv"
    hidden = F.relu(F.conv_transpose2d(hidden, weights[f"{name}.weight"], weights[f"{name}.bias"], stride=2))
    logits = _conv(weights, "roi_heads.mask_head.predictor", hidden)
    return boxes, scores, labels, logits[torch.arange(len(labels)), labels].sigmoid()


def _conv(weights, name, x, **options):
    return F.conv2d(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"), **options)


def _linear(weights, name, x):
    return F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])


def _normalized(weights, name, x, **options):
    norm = [weights[f"{name}.norm.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
    return F.batch_norm(_conv(weights, name, x, **options), *norm, eps=1e-5)


def _stage(weights, x, name, number):
    for block in range(BLOCKS[number]):
        stride = 2 if number > 2 and not block else 1
        block = f"{name}.{block}"
        hidden = F.relu(_normalized(weights, f"{block}.conv1", x, stride=stride))
        hidden = F.relu(_normalized(weights, f"{block}.conv2", hidden, padding=1))
        hidden = _normalized(weights, f"{block}.conv3", hidden)
        if f"{block}.shortcut.weight" in weights:
            x = _normalized(weights, f"{block}.shortcut", x, stride=stride)
        x = F.relu(x + hidden)
    return x


def _trunk(weights, pixels, prefix, last):
    x = F.relu(_normalized(weights, f"{prefix}stem.conv1", pixels, stride=2, padding=3))
    x = F.max_pool2d(x, 3, 2, 1)
    maps = []
    for number in range(2, last + 1):
        x = _stage(weights, x, f"{prefix}res{number}", number)
        maps.append(x)
    return maps if last == 5 else maps[-1:]


def _pyramid(weights, maps):
    merged = [_conv(weights, f"backbone.fpn_lateral{number}", x) for number, x in enumerate(maps, 2)]
    for level in (2, 1, 0):
        merged[level] = merged[level] + F.interpolate(merged[level + 1], scale_factor=2.0, mode="nearest")
    maps = [_conv(weights, f"backbone.fpn_output{number}", x, padding=1) for number, x in enumerate(merged, 2)]
    return [*maps, F.max_pool2d(maps[-1], 1, 2)]


def _anchors(size, stride, sizes):
    base = []
    for side in sizes:
        for ratio in RATIOS:
            width = math.sqrt(side * side / ratio)
            base.append([-width / 2, -width * ratio / 2, width / 2, width * ratio / 2])
    y, x = torch.meshgrid(*(torch.arange(cells) * float(stride) for cells in size), indexing="ij")
    shifts = torch.stack((x, y, x, y), dim=-1).view(-1, 1, 4)
    return (shifts + torch.tensor(base)).view(-1, 4)


def _proposals(weights, maps, strides, sizes, image_size, candidates, count):
    head = "proposal_generator.rpn_head"
    boxes, scores, levels = [], [], []
    for level, (x, stride) in enumerate(zip(maps, strides, strict=True)):
        anchors = _anchors(x.shape[-2:], stride, sizes[level])
        hidden = F.relu(_conv(weights, f"{head}.conv", x, padding=1))
        logits = _conv(weights, f"{head}.objectness_logits", hidden)[0].permute(1, 2, 0).flatten()
        deltas = _conv(weights, f"{head}.anchor_deltas", hidden)[0]
        deltas = deltas.unflatten(0, (-1, 4)).permute(2, 3, 0, 1).reshape(-1, 4)
        best = logits.topk(min(candidates, len(logits))).indices
        boxes.append(_clipped(_decoded(anchors[best], deltas[best]), image_size))
        scores.append(logits[best])
        levels.append(torch.full_like(best, level))
    boxes, scores, levels = torch.cat(boxes), torch.cat(scores), torch.cat(levels)
    good = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
    boxes, scores, levels = boxes[good], scores[good], levels[good]
    return boxes[torchvision.ops.batched_nms(boxes, scores, levels, 0.7)[:count]]


def _decoded(references, deltas):
    sizes = references[..., 2:] - references[..., :2]
    centers = references[..., :2] + sizes / 2 + deltas[..., :2] * sizes
    sizes = sizes * deltas[..., 2:].clamp(max=math.log(1000 / 16)).exp()
    return torch.cat((centers - sizes / 2, centers + sizes / 2), dim=-1)


def _clipped(boxes, image_size):
    limits = torch.tensor([image_size[1], image_size[0]] * 2, dtype=boxes.dtype)
    return torch.minimum(boxes.clamp(min=0), limits)


def _crops(features, stride, boxes, resolution):
    return torchvision.ops.roi_align(features, [boxes], resolution, 1 / stride, sampling_ratio=0, aligned=True)


def _crops_of_levels(maps, strides, boxes, resolution):
    sides = torchvision.ops.box_area(boxes).sqrt()
    levels = torch.floor(4 + torch.log2(sides / 224 + 1e-8)).clamp(2, 5).long() - 2
    crops = torch.zeros(len(boxes), maps[0].shape[1], resolution, resolution)
    for level, (features, stride) in enumerate(zip(maps, strides, strict=True)):
        chosen = torch.where(levels == level)[0]
        crops[chosen] = _crops(features, stride, boxes[chosen], resolution)
    return crops
