"""What darknet's output layers call delta, the negative gradient in a network's outputs, in plain loops.

Written from the layers' semantics (detection, region, yolo) for one image; boxes are ``x y w h`` of center and size in
images, truths are ``(box, label)``.
"""

import math

import numpy as np


def logistic(x):
    return 1 / (1 + math.exp(-x))


def iou(a, b):
    width = min(a[0] + a[2] / 2, b[0] + b[2] / 2) - max(a[0] - a[2] / 2, b[0] - b[2] / 2)
    height = min(a[1] + a[3] / 2, b[1] + b[3] / 2) - max(a[1] - a[3] / 2, b[1] - b[3] / 2)
    intersection = max(width, 0) * max(height, 0)
    return intersection / (a[2] * a[3] + b[2] * b[3] - intersection)


def cell_box(x, column, row, grid, anchor, size, scale_x_y=1.0):
    """The box of outputs `x` in a cell of a map of `grid` (height, width) in an image of `size` (height, width)."""
    place = [scale_x_y * logistic(x[axis]) - (scale_x_y - 1) / 2 for axis in (0, 1)]
    return [
        (column + place[0]) / grid[1],
        (row + place[1]) / grid[0],
        math.exp(x[2]) * anchor[0] / size[1],
        math.exp(x[3]) * anchor[1] / size[0],
    ]


def shape_iou(truth, anchor, size):
    return iou([0, 0, truth[2], truth[3]], [0, 0, anchor[0] / size[1], anchor[1] / size[0]])


def detection(classes, confidences, coordinates, truths, side, coord_scale, background_scale):
    """YOLOv1's: ``(S * S, K)``, ``(S * S, A)``, ``(S * S, A, 4)`` deltas of such outputs."""
    deltas = [np.zeros_like(x) for x in (classes, confidences, coordinates)]
    deltas[1][:] = -background_scale * confidences
    taken = set()
    for truth, label in truths:
        column, row = int(truth[0] * side), int(truth[1] * side)
        cell = row * side + column
        if cell in taken:
            continue
        taken.add(cell)
        for k in range(classes.shape[1]):
            deltas[0][cell, k] = (k == label) - classes[cell, k]
        best, best_iou, best_error = 0, 0.0, 20.0
        for a in range(confidences.shape[1]):
            x, y, w, h = coordinates[cell, a]
            box = [(x + column) / side, (y + row) / side, w * w, h * h]
            overlap = iou(box, truth)
            error = math.sqrt(sum((p - q) ** 2 for p, q in zip(box, truth, strict=True)))
            if best_iou > 0 or overlap > 0:
                if overlap > best_iou:
                    best, best_iou = a, overlap
            elif error < best_error:
                best, best_error = a, error
        deltas[1][cell, best] = best_iou - confidences[cell, best]
        expected = [truth[0] * side - column, truth[1] * side - row, math.sqrt(truth[2]), math.sqrt(truth[3])]
        deltas[2][cell, best] = coord_scale * (np.array(expected) - coordinates[cell, best])
    return deltas


def region(outputs, truths, anchors, size, ignore_iou, object_scale, background_scale, early):
    """YOLOv2's: deltas of ``(A, H, W, 5 + K)`` outputs."""
    count, height, width, _ = outputs.shape
    grid, delta = (height, width), np.zeros_like(outputs)
    for a, row, column in np.ndindex(count, height, width):
        x, d = outputs[a, row, column], delta[a, row, column]
        box, o = cell_box(x, column, row, grid, anchors[a], size), logistic(x[4])
        if max((iou(box, truth) for truth, _ in truths), default=0) <= ignore_iou:
            d[4] = background_scale * (0 - o) * o * (1 - o)
        if early:
            for axis in (0, 1):
                p = logistic(x[axis])
                d[axis] = 0.01 * (0.5 - p) * p * (1 - p)
            d[2:4] = 0.01 * (0 - x[2:4])
    for truth, label in truths:
        column, row = int(truth[0] * width), int(truth[1] * height)
        a = int(np.argmax([shape_iou(truth, anchor, size) for anchor in anchors]))
        x, d = outputs[a, row, column], delta[a, row, column]
        scale = 2 - truth[2] * truth[3]
        for axis, expected in enumerate((truth[0] * width - column, truth[1] * height - row)):
            p = logistic(x[axis])
            d[axis] = scale * (expected - p) * p * (1 - p)
        d[2] = scale * (math.log(truth[2] * size[1] / anchors[a][0]) - x[2])
        d[3] = scale * (math.log(truth[3] * size[0] / anchors[a][1]) - x[3])
        o = logistic(x[4])
        d[4] = object_scale * (iou(cell_box(x, column, row, grid, anchors[a], size), truth) - o) * o * (1 - o)
        chances = np.exp(x[5:] - x[5:].max())
        chances /= chances.sum()
        for k in range(len(chances)):
            d[5 + k] = (k == label) - chances[k]
    return delta


def yolo(levels, truths, anchors, size, ignore_iou, anchor_iou=1.0, scale_x_y=None, confident=0.0):
    """YOLOv3's, and of YOLOv4 all but the boxes': deltas of ``(A, H, W, 5 + K)`` outputs on each level.

    Also the pairs that learn: ``(level, anchor, row, column, truth)``.
    """
    scale_x_y = scale_x_y or [1.0] * len(levels)
    deltas, pairs = [np.zeros_like(x) for x in levels], []
    for level, outputs in enumerate(levels):
        count, height, width, _ = outputs.shape
        for a, row, column in np.ndindex(count, height, width):
            x = outputs[a, row, column]
            box = cell_box(x, column, row, (height, width), anchors[level][a], size, scale_x_y[level])
            nearest = max((iou(box, truth) for truth, _ in truths), default=0)
            if nearest <= ignore_iou or max(logistic(value) for value in x[5:]) <= confident:
                deltas[level][a, row, column, 4] = 0 - logistic(x[4])
    every = [(level, a) for level, sizes in enumerate(anchors) for a in range(len(sizes))]
    for index, (truth, label) in enumerate(truths):
        likeness = {key: shape_iou(truth, anchors[key[0]][key[1]], size) for key in every}
        best = max(every, key=lambda key: likeness[key])
        for level, a in every:
            if (level, a) != best and likeness[level, a] <= anchor_iou:
                continue
            _, height, width, _ = levels[level].shape
            column, row = int(truth[0] * width), int(truth[1] * height)
            x, d = levels[level][a, row, column], deltas[level][a, row, column]
            pairs.append((level, a, row, column, index))
            scale, anchor = 2 - truth[2] * truth[3], anchors[level][a]
            d[0] = scale * (truth[0] * width - column - logistic(x[0]))
            d[1] = scale * (truth[1] * height - row - logistic(x[1]))
            d[2] = scale * (math.log(truth[2] * size[1] / anchor[0]) - x[2])
            d[3] = scale * (math.log(truth[3] * size[0] / anchor[1]) - x[3])
            d[4] = 1 - logistic(x[4])
            if d[5 + label] != 0:  # the prediction has an object already: it is of this class as well
                d[5 + label] = 1 - logistic(x[5 + label])
            else:
                for k in range(len(x) - 5):
                    d[5 + k] = (k == label) - logistic(x[5 + k])
    return deltas, pairs
