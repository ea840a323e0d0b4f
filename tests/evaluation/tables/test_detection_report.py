"""Tables, ``metrics.json`` and curves of an evaluation."""

import contextlib
import io
import json

import cv2
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from rich.console import Console

from detkit.evaluation import (
    METRICS,
    coco_table,
    evaluate_detections_file,
    per_class_table,
    plot_precision_recall,
    rich_table,
    write_metrics,
)


@pytest.fixture(params=["bbox", "segm", "keypoints"])
def evaluation(request, make_problem):
    problem = make_problem(20)
    return evaluate_detections_file(problem.annotations, problem.results(request.param), request.param)


def shown(table):
    console = Console(file=io.StringIO(), width=100)
    console.print(table)
    return console.file.getvalue()


@pytest.mark.parametrize("iou_type", ["bbox", "segm", "keypoints"])
def test_coco_table_is_what_pycocotools_prints(make_problem, iou_type):
    problem = make_problem(21)
    results = problem.results(iou_type)
    evaluation = evaluate_detections_file(problem.annotations, results, iou_type)
    printed = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = problem.annotations
        truth.createIndex()
        coco_eval = COCOeval(truth, truth.loadRes(results), iou_type)
        coco_eval.evaluate()
        coco_eval.accumulate()
        with contextlib.redirect_stdout(printed):
            coco_eval.summarize()
    assert coco_table(evaluation.metrics, iou_type) == printed.getvalue().rstrip("\n")


def test_rich_table(evaluation):
    text = shown(rich_table(evaluation.metrics, evaluation.iou_type))
    for name in METRICS[evaluation.iou_type]:
        assert f" {name} " in text
    assert f"{100 * evaluation.metrics['AP']:.1f}" in text


def test_per_class_table(evaluation):
    text = shown(per_class_table(evaluation))
    for category in evaluation.categories:
        assert category.name in text
    row = next(line for line in text.splitlines() if "never seen" in line)
    assert row.count("–") == len(evaluation.class_metrics)


def test_write_metrics(tmp_path, evaluation):
    path = tmp_path / "new" / "metrics.json"
    write_metrics(path, {evaluation.iou_type: evaluation})
    assert json.loads(path.read_text()) == {evaluation.iou_type: evaluation.metrics}
    write_metrics(path, {evaluation.iou_type: evaluation}, per_class=True)
    assert json.loads(path.read_text())[evaluation.iou_type]["per_class"] == evaluation.per_class()
    assert [file.name for file in path.parent.iterdir()] == ["metrics.json"]


def test_plot_precision_recall(tmp_path, evaluation):
    plot_precision_recall(evaluation, tmp_path / "curves.png")
    assert cv2.imread(str(tmp_path / "curves.png")).std() > 10


def test_plot_precision_recall_of_nothing_and_of_many_classes(tmp_path, make_problem):
    annotations = make_problem(22).annotations
    plot_precision_recall(evaluate_detections_file(annotations | {"annotations": []}, []), tmp_path / "none.png")
    many = {
        "images": [{"id": 1}],
        "categories": [{"id": i, "name": f"class {i}"} for i in range(30)],
        "annotations": [{"image_id": 1, "category_id": i, "bbox": [0, 0, 9, 9]} for i in range(30)],
    }
    plot_precision_recall(evaluate_detections_file(many, []), tmp_path / "many.png")
    for name in ("none.png", "many.png"):
        assert cv2.imread(str(tmp_path / name)) is not None
