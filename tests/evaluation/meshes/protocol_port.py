"""Mesh R-CNN's protocol written plainly in float64, of numpy and scipy alone."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5)


def surface_points(vertices, faces, number, random):
    """Points uniform by area, and the unit normals of their faces."""
    corners = vertices[faces]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(cross, axis=1)
    chosen = random.choice(len(faces), number, p=lengths / lengths.sum())
    weights = random.random((number, 2))
    outside = weights.sum(axis=1) > 1
    weights[outside] = 1 - weights[outside]
    a, b, c = corners[chosen].transpose(1, 0, 2)
    points = a + weights[:, :1] * (b - a) + weights[:, 1:] * (c - a)
    return points, cross[chosen] / lengths[chosen, None]


def compared_points(predicted, true, thresholds=THRESHOLDS):
    """Numbers of two clouds, each ``(points, normals)``."""
    squared, cosines, shares = [], [], []
    for (points, normals), (others, other_normals) in ((predicted, true), (true, predicted)):
        distances, nearest = cKDTree(others).query(points)
        squared.append((distances**2).mean())
        cosines.append((normals * other_normals[nearest]).sum(axis=1))
        shares.append([(distances < threshold).mean() for threshold in thresholds])
    numbers = {
        "chamfer": sum(squared),
        "normal_consistency": np.mean([one.mean() for one in cosines]),
        "abs_normal_consistency": np.mean([np.abs(one).mean() for one in cosines]),
    }
    for threshold, precision, recall in zip(thresholds, *shares, strict=True):
        both = precision + recall
        numbers[f"F1_{threshold:.4g}"] = 2 * precision * recall / both if both else 0.0
    return numbers


def compared_meshes(predicted, true, number, random, longest_edge=10.0):
    """Numbers of two meshes, each ``(vertices, faces)``, the true one scaled to that longest edge."""
    scale = longest_edge / np.ptp(true[0], axis=0).max()
    clouds = [surface_points(vertices * scale, faces, number, random) for vertices, faces in (predicted, true)]
    return compared_points(*clouds)


def box_iou(one, other):
    size = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    shared = np.prod(np.maximum(size, 0))
    return shared / (np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2]) - shared)


def average_precision(scores, is_right, objects):
    """The area under the precision made monotonous from the right, of one class."""
    order = sorted(range(len(scores)), key=lambda row: -scores[row])
    points, right = [(0.0, 0.0)], 0
    for rank, row in enumerate(order, 1):
        right += bool(is_right[row])
        points.append((right / objects, right / rank))
    area = 0.0
    for k in range(1, len(points)):
        area += (points[k][0] - points[k - 1][0]) * max(precision for _, precision in points[k:])
    return area


def evaluated(images, classes, number, random):
    """The numbers of images, each a dict of ``true`` and ``predicted`` objects: dicts of ``box``, ``label``, ``mask``,
    ``mesh`` (of predictions in units of the depth of the center; None: without faces) and ``score``."""
    entries = {kind: [] for kind in ("AP_mesh", "AP50_mask", "AP50_box")}
    rows, compared = [], 0
    for image in images:
        covered = {kind: set() for kind in entries}
        measured = set()
        for found in sorted(image["predicted"], key=lambda one: -one["score"]):
            overlaps = [box_iou(found["box"], one["box"]) for one in image["true"]]
            if not overlaps or max(overlaps) <= 0.3:
                continue
            index = int(np.argmax(overlaps))
            true = image["true"][index]
            has_class = found["label"] == true["label"]
            shape = {"F1_0.3": 0.0}
            if has_class and found["mesh"] is not None:
                z = true["mesh"][0][:, 2]
                vertices, faces = found["mesh"]
                shape = compared_meshes((vertices * (z.min() + z.max()) / 2, faces), true["mesh"], number, random)
            masks = np.logical_and(found["mask"], true["mask"]).sum() / np.logical_or(found["mask"], true["mask"]).sum()
            for kind, quality in (("AP_mesh", shape["F1_0.3"]), ("AP50_mask", masks), ("AP50_box", max(overlaps))):
                is_right = has_class and quality > 0.5 and index not in covered[kind]
                if is_right:
                    covered[kind].add(index)
                entries[kind].append((found["label"], found["score"], is_right))
            if has_class and index not in measured:
                measured.add(index)
                compared += 1
                rows.append((true["label"], shape))
    counts = np.bincount([one["label"] for image in images for one in image["true"]], minlength=classes)
    numbers = {}
    for kind, found in entries.items():
        own = []
        for label in np.flatnonzero(counts):
            rows_of = [(score, is_right) for k, score, is_right in found if k == label]
            own.append(average_precision([one[0] for one in rows_of], [one[1] for one in rows_of], counts[label]))
        numbers[kind] = np.mean(own)
    for name in ("F1_0.1", "F1_0.3", "F1_0.5", "chamfer", "normal_consistency", "abs_normal_consistency"):
        is_share = name.startswith("F1")
        values = [(label, shape.get(name, 0.0)) for label, shape in rows if is_share or name in shape]
        by_class = [[v for k, v in values if k == label] for label in range(classes)]
        numbers[name] = np.mean([np.mean(one) for one in by_class if one])
        numbers[f"{name}_per_object"] = np.mean([v for _, v in values])
    numbers["without_faces_per_object"] = sum("chamfer" not in shape for _, shape in rows) / compared
    return numbers
