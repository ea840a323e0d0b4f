"""The nets of FCN's authors in plain torch, as their Caffe files describe them, and random weights for them."""

import torch
from torch.nn import functional as F

from detkit.heads.pixel.bilinear_upsampling import bilinear_kernel

CLASSES = 3
BGR_MEAN = torch.tensor([104.00698793, 116.66876762, 122.67891434])[:, None, None]
LAYERS = (2, 2, 3, 3, 3)  # convolutions of the blocks of VGG-16
CHANNELS = (64, 128, 256, 512, 512)
UPSAMPLING = {
    "fcn32s": {"upscore": 32},
    "fcn16s": {"upscore2": 2, "upscore16": 16},
    "fcn8s": {"upscore2": 2, "upscore_pool4": 2, "upscore8": 8},
    "fcn8s-atonce": {"upscore2": 2, "upscore_pool4": 2, "upscore8": 8},
}


def shapes(name, width=1.0, classes=CLASSES):
    """The shapes of all tensors by Caffe's names."""
    found, before = {}, 3
    hidden = round(4096 * width)
    for block, (count, channels) in enumerate(zip(LAYERS, CHANNELS, strict=True), 1):
        for layer in range(1, count + 1):
            found[f"conv{block}_{layer}"] = (round(channels * width), before, 3, 3)
            before = round(channels * width)
    found |= {"fc6": (hidden, before, 7, 7), "fc7": (hidden, hidden, 1, 1), "score_fr": (classes, hidden, 1, 1)}
    if name != "fcn32s":
        found["score_pool4"] = (classes, round(512 * width), 1, 1)
    if name.startswith("fcn8s"):
        found["score_pool3"] = (classes, round(256 * width), 1, 1)
    biases = {f"{layer}.bias": (shape[0],) for layer, shape in found.items()}
    kernels = {layer: (classes, classes, 2 * factor, 2 * factor) for layer, factor in UPSAMPLING[name].items()}
    return {f"{layer}.weight": shape for layer, shape in (found | kernels).items()} | biases


def weights(name, seed, width=1 / 32):
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for key, shape in shapes(name, width).items():
        spread = (2 / torch.Size(shape[1:]).numel()) ** 0.5 if len(shape) > 1 else 0.1
        tensors[key] = spread * torch.randn(shape, generator=generator)
    tensors["conv1_1.weight"] /= 50  # its pixels are as large
    for layer, factor in UPSAMPLING[name].items():
        tensors[f"{layer}.weight"] = torch.zeros(CLASSES, CLASSES, 2 * factor, 2 * factor)
        tensors[f"{layer}.weight"][range(CLASSES), range(CLASSES)] = bilinear_kernel(factor)
    return tensors


def by_caffe(name, tensors, image):
    """The logits of an RGB image in [0, 1], with the borders, crops and sums of the authors' nets."""

    def conv(x, layer, padding=0):
        return F.conv2d(x, tensors[f"{layer}.weight"], tensors[f"{layer}.bias"], padding=padding)

    def upsampled(x, layer):
        return F.conv_transpose2d(x, tensors[f"{layer}.weight"], stride=UPSAMPLING[name][layer])

    def cropped(x, offset, like):
        return x[..., offset : offset + like.shape[-2], offset : offset + like.shape[-1]]

    x, pools = (image.flip(0) * 255 - BGR_MEAN)[None], []
    for block, count in enumerate(LAYERS, 1):
        for layer in range(1, count + 1):
            x = conv(x, f"conv{block}_{layer}", 100 if (block, layer) == (1, 1) else 1).relu()
        pools.append(x := F.max_pool2d(x, 2, 2, ceil_mode=True))
    scores = conv(conv(conv(x, "fc6").relu(), "fc7").relu(), "score_fr")
    if name == "fcn32s":
        return cropped(upsampled(scores, "upscore"), 19, image)
    scale4, scale3 = (0.01, 0.0001) if name == "fcn8s-atonce" else (1.0, 1.0)
    scores = upsampled(scores, "upscore2")
    scores = scores + cropped(conv(scale4 * pools[3], "score_pool4"), 5, scores)
    if name == "fcn16s":
        return cropped(upsampled(scores, "upscore16"), 27, image)
    scores = upsampled(scores, "upscore_pool4")
    scores = scores + cropped(conv(scale3 * pools[2], "score_pool3"), 9, scores)
    return cropped(upsampled(scores, "upscore8"), 31, image)
