"""The confusion matrix of detections: supervision's numbers, its definition as loops, crowds, and limits."""

from __future__ import annotations

import json

import numpy as np
import pytest
from confusion_cases import CLASSES, EXPECTED, IOU, SCORE, SEEDS, annotations, case, detections

from detkit.errors import InputError
from detkit.evaluation import CocoEvaluator, ConfusionMatrix, ReportOptions, confuse_detections

MATRICES = json.loads(EXPECTED.read_text())["matrices"]


def evaluated(images, crowds=(), iou_type="bbox"):
    evaluator = CocoEvaluator(annotations(images, crowds), iou_type=iou_type)
    evaluator.read(detections(images))
    return evaluator.evaluate()


def overlap(box, other):
    sides = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
    shared = np.prod(np.maximum(sides, 0))
    return shared / (np.prod(box[2:] - box[:2]) + np.prod(other[2:] - other[:2]) - shared)


def by_loops(images, score=SCORE, iou=IOU):
    """The definition: all pairs, those of one class first, then by falling IoU, each taken if both are free."""
    counts = np.zeros((CLASSES + 1, CLASSES + 1), dtype=int)
    for one in images:
        kept = [d for d in range(len(one["boxes"])) if one["scores"][d] >= score]
        pairs = [(overlap(one["objects"][g], one["boxes"][d]), g, d) for g in range(len(one["objects"])) for d in kept]
        pairs = [pair for pair in pairs if pair[0] >= iou]
        pairs.sort(key=lambda pair: (one["labels"][pair[1]] != one["classes"][pair[2]], -pair[0]))
        objects, boxes = set(range(len(one["objects"]))), set(kept)
        for _, g, d in pairs:
            if g in objects and d in boxes:
                counts[one["labels"][g], one["classes"][d]] += 1
                objects.remove(g)
                boxes.remove(d)
        for g in objects:
            counts[one["labels"][g], -1] += 1
        for d in boxes:
            counts[-1, one["classes"][d]] += 1
    return counts


@pytest.mark.parametrize("seed", SEEDS)
def test_supervision_counts_the_same(seed):
    assert confuse_detections(evaluated(case(seed)), SCORE, IOU).counts.tolist() == MATRICES[seed]


def test_the_cases_hold_confusions():
    matrices = np.array(MATRICES)[:, :-1, :-1]
    assert np.trace(matrices.sum(axis=0)) < matrices.sum() - 20


@pytest.mark.parametrize(("score", "iou"), [(0.0, 0.5), (0.6, 0.3), (0.3, 0.9), (1.0, 0.5)])
def test_the_definition_at_other_thresholds(score, iou):
    images = case(100)
    assert confuse_detections(evaluated(images), score, iou).counts.tolist() == by_loops(images, score, iou).tolist()


def test_the_class_of_an_object_comes_before_a_greater_overlap():
    box = np.array([[0.0, 0, 20, 20]])
    image = {
        "objects": box, "labels": np.array([0]), "boxes": np.concatenate([box, box + 2]), "classes": np.array([1, 0]),
        "scores": np.array([0.9, 0.5]),
    }  # fmt: skip
    counts = confuse_detections(evaluated([image])).counts
    assert counts[0].tolist() == [1, 0, 0, 0, 0]
    assert counts[-1].tolist() == [0, 1, 0, 0, 0]


def test_crowds_are_no_objects_and_take_detections_of_their_class():
    crowd = np.array([[0.0, 0, 60, 60]])
    within = np.array([[5.0, 5, 15, 15], [20, 20, 30, 30], [70, 70, 80, 80]])
    image = {
        "objects": crowd, "labels": np.array([2]), "boxes": within, "classes": np.array([2, 1, 2]),
        "scores": np.full(3, 0.9),
    }  # fmt: skip
    counts = confuse_detections(evaluated([image], crowds=((0, 0),))).counts
    assert counts[:-1].sum() == 0
    assert counts[-1].tolist() == [0, 1, 1, 0, 0]  # another class, and outside of it


def test_every_object_and_detection_counts_once():
    images = case(7)
    counts = confuse_detections(evaluated(images), 0.0).counts
    objects = np.bincount(np.concatenate([one["labels"] for one in images]), minlength=CLASSES)
    boxes = np.bincount(np.concatenate([one["classes"] for one in images]), minlength=CLASSES)
    assert counts[:-1].sum(axis=1).tolist() == objects.tolist()
    assert counts[:, :-1].sum(axis=0).tolist() == boxes.tolist()
    assert counts[-1, -1] == 0


def test_without_anything():
    nothing = {"objects": np.zeros((0, 4)), "labels": np.zeros(0, int), "boxes": np.zeros((0, 4)),
               "classes": np.zeros(0, int), "scores": np.zeros(0)}  # fmt: skip
    matrix = confuse_detections(evaluated([nothing]))
    assert matrix.counts.shape == (CLASSES + 1, CLASSES + 1)
    assert matrix.counts.sum() == matrix.shares.sum() == 0
    assert matrix.most_confused(5) == []


@pytest.mark.parametrize("options", [{"score_threshold": -0.1}, {"iou_threshold": 0.0}, {"iou_threshold": 1.5}])
def test_thresholds_out_of_range(options):
    with pytest.raises(InputError, match="threshold is"):
        confuse_detections(evaluated(case(0)), **options)


def test_masks_are_confused_by_their_own_overlap():
    """Two triangles that share a box and half of nothing."""
    upper, lower = [[0, 0, 20, 0, 0, 20]], [[20, 20, 20, 0, 0, 20]]
    entry = {"id": 1, "image_id": 0, "category_id": 1, "bbox": [0, 0, 20, 20], "area": 200, "iscrowd": 0}
    truth = annotations([{"objects": np.zeros((0, 4)), "labels": np.zeros(0, int)}])
    truth["annotations"] = [{**entry, "segmentation": upper}]
    from pycocotools import mask

    encoded = mask.merge(mask.frPyObjects(lower, 100, 100))
    found = {"image_id": 0, "category_id": 1, "score": 0.9, "bbox": [0, 0, 20, 20],
             "segmentation": {"size": [100, 100], "counts": encoded["counts"].decode()}}  # fmt: skip
    diagonal = {}
    for iou_type in ("bbox", "segm"):
        evaluator = CocoEvaluator(truth, iou_type=iou_type)
        evaluator.read([found])
        diagonal[iou_type] = int(confuse_detections(evaluator.evaluate()).counts[0, 0])
    assert diagonal == {"bbox": 1, "segm": 0}


def test_the_report_writes_it(tmp_path):
    evaluation = evaluated(case(3))
    evaluator = CocoEvaluator(annotations(case(3)))
    report = evaluator.report(evaluation, ReportOptions(confusion=tmp_path / "confusion.csv"))
    assert report.tables[-1].row_count == CLASSES + 1
    assert "scores of at least 0.3" in report.tables[-1].title
    first, *rows = (tmp_path / "confusion.csv").read_text().splitlines()
    assert first == "class,class0,class1,class2,class3,background"
    assert [[int(value) for value in row.split(",")[1:]] for row in rows] == MATRICES[3]


def test_most_confused():
    counts = np.array([[9, 1, 0], [4, 9, 0], [2, 0, 0]])
    assert ConfusionMatrix(["a", "b", "background"], counts, "objects").most_confused(2) == [(1, 0), (2, 0)]
