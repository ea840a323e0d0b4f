"""Darknet once more, in plain numpy and loops over its flat buffers, as the definitions of its layers read.

It shares nothing with detkit: it reads the cfg and the weights by itself. Everything is in double precision.
"""

from __future__ import annotations

import struct

import numpy as np

ACTIVATIONS = {
    "linear": lambda x: x,
    "leaky": lambda x: x if x > 0 else 0.1 * x,
    "logistic": lambda x: 1 / (1 + np.exp(-x)),
    "relu": lambda x: x if x > 0 else 0.0,
    "relu6": lambda x: min(max(x, 0.0), 6.0),
    "mish": lambda x: x * np.tanh(np.log1p(np.exp(x))),
    "swish": lambda x: x / (1 + np.exp(-x)),
    "hard_mish": lambda x: x if x > 0 else (x * x / 2 + x if x > -2 else 0.0),
    "loggy": lambda x: 2 / (1 + np.exp(-x)) - 1,
    "elu": lambda x: x if x >= 0 else np.exp(x) - 1,
    "selu": lambda x: 1.0507 * x if x >= 0 else 1.0507 * 1.6732 * (np.exp(x) - 1),
    "relie": lambda x: x if x > 0 else 0.01 * x,
    "ramp": lambda x: (x if x > 0 else 0.0) + 0.1 * x,
    "tanh": lambda x: (np.exp(2 * x) - 1) / (np.exp(2 * x) + 1),
    "plse": lambda x: 0.01 * (x + 4) if x < -4 else (0.01 * (x - 4) + 1 if x > 4 else 0.125 * x + 0.5),
    "hardtan": lambda x: min(max(x, -1.0), 1.0),
    "lhtan": lambda x: 0.001 * x if x < 0 else (0.001 * (x - 1) + 1 if x > 1 else x),
}


def activate(x, name):
    return np.vectorize(ACTIVATIONS[name], otypes=[float])(x)


def logistic(x):
    return 1 / (1 + np.exp(-x))


class Reference:
    """The outputs of every layer for one image ``(C, H, W)``."""

    def __init__(self, cfg, weights):
        self.sections = []
        for line in cfg.splitlines():
            if line.startswith("["):
                self.sections.append((line.strip("[]"), {}))
            elif "=" in line:
                self.sections[-1][1].update([line.split("=")])
        major, minor = struct.unpack_from("<2i", weights)
        self.numbers = np.frombuffer(weights, "<f4", offset=20 if major * 10 + minor >= 2 else 16).astype(float)
        self.taken = 0
        self.net = self.sections.pop(0)[1]

    def take(self, *shape):
        count = int(np.prod(shape))
        self.taken += count
        return self.numbers[self.taken - count : self.taken].reshape(shape)

    def run(self, image):
        self.outputs = []
        x = image.astype(float)
        for kind, options in self.sections:
            x = getattr(self, kind.lower())(x, options)
            self.outputs.append(x)
        assert self.taken == len(self.numbers)
        return self.outputs

    def earlier(self, text):
        return [self.outputs[int(index)] for index in text.split(",")]

    # Layers with weights

    def normalize(self, x, scales, means, variances):
        of_channel = (slice(None), None, None)
        return (x - means[of_channel]) / (np.sqrt(variances[of_channel]) + 0.000001) * scales[of_channel]

    def convolutional(self, x, options):
        n, size, groups = (int(options.get(key, 1)) for key in ("filters", "size", "groups"))
        stride, dilation = int(options.get("stride", 1)), int(options.get("dilation", 1)) if size > 1 else 1
        step_x, step_y = int(options.get("stride_x", stride)), int(options.get("stride_y", stride))
        pad = size // 2 if int(options.get("pad", 0)) else int(options.get("padding", 0))
        bias = self.take(n)
        statistics = [self.take(n) for _ in range(3)] if int(options.get("batch_normalize", 0)) else None
        channels, height, width = x.shape
        weights = self.take(n, channels // groups, size, size)
        out = np.zeros((n, (height + 2 * pad - size) // step_y + 1, (width + 2 * pad - size) // step_x + 1))
        padded = np.pad(x, ((0, 0), (pad * dilation,) * 2, (pad * dilation,) * 2))
        for f in range(n):
            first = f // (n // groups) * (channels // groups)
            for i in range(out.shape[1]):
                for j in range(out.shape[2]):
                    top, left, reach = i * step_y, j * step_x, dilation * (size - 1) + 1
                    patch = padded[first : first + channels // groups]
                    patch = patch[:, top : top + reach : dilation, left : left + reach : dilation]
                    out[f, i, j] = (patch * weights[f]).sum()
        if statistics:
            out = self.normalize(out, *statistics)
        return activate(out + bias[:, None, None], options.get("activation", "logistic"))

    def deconvolutional(self, x, options):
        n, size, stride = (int(options.get(key, 1)) for key in ("filters", "size", "stride"))
        pad = size // 2 if int(options.get("pad", 0)) else int(options.get("padding", 0))
        bias = self.take(n)
        statistics = [self.take(n) for _ in range(3)] if int(options.get("batch_normalize", 0)) else None
        channels, height, width = x.shape
        weights = self.take(channels, n, size, size)
        out = np.zeros((n, (height - 1) * stride + size, (width - 1) * stride + size))
        for c in range(channels):
            for i in range(height):
                for j in range(width):
                    place = (slice(None), slice(i * stride, i * stride + size), slice(j * stride, j * stride + size))
                    out[place] += x[c, i, j] * weights[c]
        out = out[:, pad : out.shape[1] - pad, pad : out.shape[2] - pad]
        if statistics:
            out = self.normalize(out, *statistics)
        return activate(out + bias[:, None, None], options.get("activation", "logistic"))

    def connected(self, x, options):
        n = int(options["output"])
        bias, weights = self.take(n), self.take(n, x.size)
        out = (weights @ x.reshape(-1)).reshape(n, 1, 1)
        if int(options.get("batch_normalize", 0)):
            out = self.normalize(out, *(self.take(n) for _ in range(3)))
        return activate(out + bias[:, None, None], options.get("activation", "logistic"))

    def batchnorm(self, x, options):
        return self.normalize(x, *(self.take(len(x)) for _ in range(3)))

    def local(self, x, options):
        n, size, stride = (int(options.get(key, 1)) for key in ("filters", "size", "stride"))
        pad = int(options.get("pad", 0))
        height, width = ((side - (1 if pad else size)) // stride + 1 for side in x.shape[1:])
        bias = self.take(n, height, width)
        padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
        out = np.zeros((n, height, width))
        for i in range(height):
            for j in range(width):
                patch = padded[:, i * stride : i * stride + size, j * stride : j * stride + size]
                out[:, i, j] = self.take(n, patch.size) @ patch.reshape(-1)
        return activate(out + bias, options.get("activation", "logistic"))

    def implicit(self, x, options):
        return self.take(int(options["filters"]), int(options.get("atoms", 1)), 1)

    # Layers without

    def _pool(self, x, options, reduce):
        stride = int(options.get("stride", 1))
        size = int(options.get("size", stride))
        pad = int(options.get("padding", size - 1))
        out = np.zeros((len(x), *((side + pad - size) // stride + 1 for side in x.shape[1:])))
        for i in range(out.shape[1]):
            for j in range(out.shape[2]):
                top, left = i * stride - pad // 2, j * stride - pad // 2
                window = x[:, max(top, 0) : top + size, max(left, 0) : left + size]
                out[:, i, j] = reduce(window, axis=(1, 2))
        return out

    def maxpool(self, x, options):
        return self._pool(x, options, np.max)

    def local_avgpool(self, x, options):
        return self._pool(x, options, np.mean)

    def avgpool(self, x, options):
        return x.mean(axis=(1, 2), keepdims=True)

    def same(self, x, options):
        return x

    cost = dropout = empty = same

    def activation(self, x, options):
        return activate(x, options["activation"])

    def crop(self, x, options):
        height, width = int(options["crop_height"]), int(options["crop_width"])
        top, left = (x.shape[1] - height) // 2, (x.shape[2] - width) // 2
        x = x[:, top : top + height, left : left + width]
        return x if int(options.get("noadjust", 0)) else 2 * x - 1

    def softmax(self, x, options):
        if "tree" in options:
            return self.tree_softmax(x.reshape(-1, 1, 1), options["tree"])
        x, groups = x.reshape(-1), int(options.get("groups", 1))
        rows = np.exp(x.reshape(groups, -1) / float(options.get("temperature", 1)))
        return (rows / rows.sum(axis=1, keepdims=True)).reshape(-1, 1, 1)

    @staticmethod
    def parents(path):
        return [int(line.split()[1]) for line in open(path)]

    def tree_softmax(self, x, path):
        """Over each run of classes with the same parent."""
        parents, out, first = self.parents(path), np.exp(x), 0
        for row in range(1, len(parents) + 1):
            if row == len(parents) or parents[row] != parents[first]:
                out[first:row] /= out[first:row].sum(axis=0)
                first = row
        return out

    def named_class(self, probabilities, path, threshold=0.5):
        """``hierarchy_predictions`` and ``hierarchy_top_prediction``."""
        parents, p, probabilities = self.parents(path), 1.0, probabilities.copy()
        for row, parent in enumerate(parents):
            if parent >= 0:
                probabilities[row] *= probabilities[parent]
        group = [row for row, parent in enumerate(parents) if parent == -1]
        above = None
        while True:
            best = max(group, key=lambda row: probabilities[row])
            if p * probabilities[best] <= threshold:
                return best if above is None else above
            p *= probabilities[best]
            above, group = best, [row for row, parent in enumerate(parents) if parent == best]
            if not group:
                return best

    def upsample(self, x, options):
        stride = int(options.get("stride", 2))
        return float(options.get("scale", 1)) * x.repeat(stride, axis=1).repeat(stride, axis=2)

    def route(self, x, options):
        groups, group = int(options.get("groups", 1)), int(options.get("group_id", 0))
        parts = []
        for source in self.earlier(options["layers"]):
            part = source.size // groups
            parts.append(source.reshape(-1)[part * group : part * (group + 1)])
        shape = self.earlier(options["layers"])[0].shape
        return np.concatenate(parts).reshape(-1, *shape[1:])

    def shortcut(self, x, options):
        sources = self.earlier(options["from"])
        if options.get("weights_type", "none") != "none":
            return activate(self._weighted_shortcut(x, sources, options), options.get("activation", "linear"))
        out = float(options.get("alpha", 1)) * x
        for source in sources:
            (c1, h1, w1), (c2, h2, w2) = source.shape, x.shape
            stride, sample = max(w1 // w2, 1), max(w2 // w1, 1)
            for k in range(min(c1, c2)):
                for j in range(min(h1, h2)):
                    for i in range(min(w1, w2)):
                        added = source[k, j * stride, i * stride]
                        out[k, j * sample, i * sample] += float(options.get("beta", 1)) * added
        return activate(out, options.get("activation", "linear"))

    def _weighted_shortcut(self, x, sources, options):
        summands = [x, *sources]
        columns = len(x) if options["weights_type"] == "per_channel" else 1
        weights = self.take(len(summands), columns)
        kind = options.get("weights_normalization", "none")
        out = np.zeros_like(x)
        for k in range(len(x)):
            w = weights[:, min(k, columns - 1)]
            if kind == "relu":
                w = np.maximum(w, 0.001)
            elif kind == "softmax":
                w = np.exp(w - w.max())
            if kind != "none":
                w = w / (0.0001 + w.sum())
            for summand, weight in zip(summands, w, strict=True):
                out[k] += weight * summand[k]
        return out

    @staticmethod
    def reorg_cpu(x, w, h, c, stride, forward):
        x, out = x.reshape(-1), np.zeros(x.size)
        out_c = c // (stride * stride)
        for k in range(c):
            for j in range(h):
                for i in range(w):
                    in_index = i + w * (j + h * k)
                    c2, offset = k % out_c, k // out_c
                    w2, h2 = i * stride + offset % stride, j * stride + offset // stride
                    out_index = w2 + w * stride * (h2 + h * stride * c2)
                    if forward:
                        out[out_index] = x[in_index]
                    else:
                        out[in_index] = x[out_index]
        return out

    def reorg(self, x, options):
        (c, h, w), stride = x.shape, int(options["stride"])
        reverse = int(options.get("reverse", 0))
        out = self.reorg_cpu(x, w, h, c, stride, forward=reverse)
        if reverse:
            return out.reshape(c // stride**2, h * stride, w * stride)
        return out.reshape(c * stride**2, h // stride, w // stride)

    def reorg3d(self, x, options):
        (c, h, w), stride = x.shape, int(options["stride"])
        c, h, w = c * stride**2, h // stride, w // stride
        return self.reorg_cpu(x, w, h, c, stride, forward=False).reshape(c, h, w)

    def scale_channels(self, x, options):
        (source,) = self.earlier(options["from"])
        out = np.zeros_like(source)
        for k in range(len(source)):
            for i in range(source.shape[1]):
                for j in range(source.shape[2]):
                    scale = x[0, i, j] if int(options.get("scale_wh", 0)) else x[k, 0, 0]
                    out[k, i, j] = scale * source[k, i, j]
        return activate(out, options.get("activation", "linear"))

    def sam(self, x, options):
        return activate(x * self.earlier(options["from"])[0], options.get("activation", "linear"))

    def shift_channels(self, x, options):
        return x + self.earlier(options["from"])[0]

    def control_channels(self, x, options):
        return x * self.earlier(options["from"])[0]

    # Answers

    def yolo(self, x, options):
        out, numbers = x.copy(), 5 + int(options["classes"])
        scale, activated = float(options.get("scale_x_y", 1)), int(options.get("new_coords", 0))
        for first in range(0, len(x), numbers):
            if not activated:
                out[first : first + 2] = logistic(out[first : first + 2])
                out[first + 4 : first + numbers] = logistic(out[first + 4 : first + numbers])
            out[first : first + 2] = out[first : first + 2] * scale - 0.5 * (scale - 1)
        return out

    def gaussian_yolo(self, x, options):
        out, numbers = x.copy(), 9 + int(options["classes"])
        scale = float(options.get("scale_x_y", 1))
        for first in range(0, len(x), numbers):
            for entry in (0, 2):
                out[first + entry : first + entry + 2] = logistic(out[first + entry : first + entry + 2])
                out[first + entry] = out[first + entry] * scale - 0.5 * (scale - 1)
            for entry in (5, 7):
                out[first + entry] = logistic(out[first + entry])
            out[first + 8 : first + numbers] = logistic(out[first + 8 : first + numbers])
        return out

    def region(self, x, options):
        out, numbers = x.copy(), 5 + int(options["classes"])
        for first in range(0, len(x), numbers):
            for entry in (0, 1, 4):
                out[first + entry] = logistic(out[first + entry])
            classes = out[first + 5 : first + numbers]
            if "tree" in options:
                out[first + 5 : first + numbers] = self.tree_softmax(classes, options["tree"])
            elif int(options.get("softmax", 0)):
                classes = np.exp(classes - classes.max(axis=0))
                out[first + 5 : first + numbers] = classes / classes.sum(axis=0)
            else:
                out[first + 5 : first + numbers] = logistic(classes)
        return out

    def detection(self, x, options):
        out, classes = x.copy(), int(options["classes"])
        if int(options.get("softmax", 0)):
            for cell in range(int(options["side"]) ** 2):
                row = np.exp(out[cell * classes : (cell + 1) * classes])
                out[cell * classes : (cell + 1) * classes] = row / row.sum()
        return out

    # Boxes: (center x, center y, width, height) in images, and the probability of each class

    def boxes(self, width, height, threshold, letterboxed=True):
        """What ``get_network_boxes`` finds for an image of that size."""
        net = int(self.net["width"]), int(self.net["height"])
        result = []
        for (kind, options), output in zip(self.sections, self.outputs, strict=True):
            read = {
                "yolo": self._yolo_boxes,
                "Gaussian_yolo": self._gaussian_boxes,
                "region": self._region_boxes,
                "detection": self._grid_boxes,
            }.get(kind)
            if read:
                result += read(options, output, net, threshold)
        if not letterboxed:
            return result
        if net[0] / width < net[1] / height:
            new_w, new_h = net[0], height * net[0] // width
        else:
            new_w, new_h = width * net[1] // height, net[1]
        for box, _, _ in result:
            box[0] = (box[0] - (net[0] - new_w) / 2.0 / net[0]) / (new_w / net[0])
            box[1] = (box[1] - (net[1] - new_h) / 2.0 / net[1]) / (new_h / net[1])
            box[2] *= net[0] / new_w
            box[3] *= net[1] / new_h
        return result

    @staticmethod
    def _anchors(options):
        numbers = [float(number) for number in options["anchors"].split(",")]
        return [numbers[2 * index : 2 * index + 2] for index in range(len(numbers) // 2)]

    def _yolo_boxes(self, options, output, net, threshold):
        anchors, numbers = self._anchors(options), 5 + int(options["classes"])
        result = []
        for n, anchor in enumerate(int(index) for index in options["mask"].split(",")):
            for j in range(output.shape[1]):
                for i in range(output.shape[2]):
                    x, y, w, h, objectness, *classes = output[n * numbers : (n + 1) * numbers, j, i]
                    if objectness <= threshold:
                        continue
                    if int(options.get("new_coords", 0)):
                        w, h = w * w * 4 * anchors[anchor][0] / net[0], h * h * 4 * anchors[anchor][1] / net[1]
                    else:
                        w, h = np.exp(w) * anchors[anchor][0] / net[0], np.exp(h) * anchors[anchor][1] / net[1]
                    box = np.array([(i + x) / output.shape[2], (j + y) / output.shape[1], w, h])
                    probabilities = objectness * np.array(classes)
                    result.append((box, objectness, np.where(probabilities > threshold, probabilities, 0)))
        return result

    def _gaussian_boxes(self, options, output, net, threshold):
        anchors, numbers = self._anchors(options), 9 + int(options["classes"])
        result = []
        for n, anchor in enumerate(int(index) for index in options["mask"].split(",")):
            for j in range(output.shape[1]):
                for i in range(output.shape[2]):
                    x, ux, y, uy, w, uw, h, uh, objectness, *classes = output[n * numbers : (n + 1) * numbers, j, i]
                    if objectness <= threshold:
                        continue
                    w, h = np.exp(w) * anchors[anchor][0] / net[0], np.exp(h) * anchors[anchor][1] / net[1]
                    box = np.array([(i + x) / output.shape[2], (j + y) / output.shape[1], w, h])
                    probabilities = objectness * np.array(classes) * (1 - (ux + uy + uw + uh) / 4)
                    result.append((box, objectness, np.where(probabilities > threshold, probabilities, 0)))
        return result

    def _region_boxes(self, options, output, net, threshold):
        numbers = 5 + int(options["classes"])
        result = []
        for n, (width, height) in enumerate(self._anchors(options)):
            for j in range(output.shape[1]):
                for i in range(output.shape[2]):
                    x, y, w, h, objectness, *classes = output[n * numbers : (n + 1) * numbers, j, i]
                    w, h = np.exp(w) * width / output.shape[2], np.exp(h) * height / output.shape[1]
                    box = np.array([(i + x) / output.shape[2], (j + y) / output.shape[1], w, h])
                    objectness = objectness if objectness > threshold else 0
                    if "tree" in options:
                        named = self.named_class(np.array(classes), options["tree"])
                        classes = [float(row == named) for row in range(len(classes))]
                    probabilities = objectness * np.array(classes)
                    result.append((box, objectness, np.where(probabilities > threshold, probabilities, 0)))
        return result

    def _grid_boxes(self, options, output, net, threshold):
        side, number, classes = (int(options[key]) for key in ("side", "num", "classes"))
        power = 2 if int(options.get("sqrt", 0)) else 1
        output = output.reshape(-1)
        result = []
        for cell in range(side * side):
            row, column = divmod(cell, side)
            for n in range(number):
                scale = output[side * side * classes + cell * number + n]
                first = side * side * (classes + number) + (cell * number + n) * 4
                x, y, w, h = output[first : first + 4]
                box = np.array([(x + column) / side, (y + row) / side, w**power, h**power])
                probabilities = scale * output[cell * classes : (cell + 1) * classes]
                result.append((box, scale, np.where(probabilities > threshold, probabilities, 0)))
        return result


def box_iou(a, b):
    width = min(a[0] + a[2] / 2, b[0] + b[2] / 2) - max(a[0] - a[2] / 2, b[0] - b[2] / 2)
    height = min(a[1] + a[3] / 2, b[1] + b[3] / 2) - max(a[1] - a[3] / 2, b[1] - b[3] / 2)
    intersection = 0 if width < 0 or height < 0 else width * height
    return intersection / (a[2] * a[3] + b[2] * b[3] - intersection)


def do_nms_sort(result, classes, threshold):
    """Class by class: a box loses its probability of the class to a better one that overlaps it."""
    result = [detection for detection in result if detection[1] != 0]
    for k in range(classes):
        result.sort(key=lambda detection: -detection[2][k])
        for i, (box, _, probabilities) in enumerate(result):
            if probabilities[k] == 0:
                continue
            for other, _, others in result[i + 1 :]:
                if box_iou(box, other) > threshold:
                    others[k] = 0
    return result
