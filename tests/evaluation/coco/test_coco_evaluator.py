"""`CocoEvaluator` against pycocotools run directly, and what pycocotools leaves undefined."""

import copy
import json
import pickle

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO

from detkit.errors import InputError
from detkit.evaluation import METRICS, CocoEvaluator
from detkit.structures import Category, Detections

IOU_TYPES = ("bbox", "segm", "keypoints")


def evaluated(problem, iou_type, **options):
    evaluator = CocoEvaluator(problem.annotations, iou_type, categories=problem.categories, **options)
    for image_id, detections in zip(problem.image_ids, problem.detections, strict=True):
        evaluator.update([image_id], [detections])
    return evaluator


def one_image(boxes=((10, 10, 20, 20),), **annotation):
    """Annotations of one image of 100 by 80 with a category, and its objects, boxes as x y width height."""
    return {
        "images": [{"id": 5, "height": 80, "width": 100}],
        "categories": [{"id": 1, "name": "cell"}],
        "annotations": [
            {"id": i, "image_id": 5, "category_id": 1, "bbox": list(box), **annotation}
            for i, box in enumerate(boxes, start=1)
        ],
    }


def detection(*box, score=0.9, label=0, **fields):
    return Detections(torch.tensor([box]).float(), torch.tensor([score]), torch.tensor([label]), **fields)


@pytest.mark.parametrize("iou_type", IOU_TYPES)
@pytest.mark.parametrize("seed", range(4))
def test_equals_pycocotools(make_problem, reference, iou_type, seed):
    problem = make_problem(seed)
    expected = reference(problem.annotations, problem.results(iou_type), iou_type)
    assert evaluated(problem, iou_type).compute() == pytest.approx(expected, abs=1e-12)
    assert list(expected) == list(METRICS[iou_type])
    assert expected["AP"] > 0


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1), iou_type=st.sampled_from(IOU_TYPES), images=st.integers(1, 5))
def test_equals_pycocotools_on_any_data(make_problem, reference, seed, iou_type, images):
    problem = make_problem(seed, images, crowded=False)
    results = problem.results(iou_type)
    if results:
        expected = reference(problem.annotations, results, iou_type)
        assert evaluated(problem, iou_type).compute() == pytest.approx(expected, abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(
    boxes=st.lists(st.tuples(*[st.integers(0, 60)] * 2, *[st.integers(0, 40)] * 2), max_size=4),
    detections=st.lists(
        st.tuples(*[st.integers(0, 60)] * 2, *[st.integers(0, 40)] * 2, st.sampled_from([0, 0.5, 1])), max_size=4
    ),
)
def test_numbers_are_fractions_or_minus_one(boxes, detections):
    evaluator = CocoEvaluator(one_image(boxes))
    detected_boxes = torch.tensor([[x, y, x + w, y + h] for x, y, w, h, _ in detections]).reshape(-1, 4).float()
    scores = torch.tensor([score for *_, score in detections]).float()
    evaluator.update([5], [Detections(detected_boxes, scores, torch.zeros(len(detections), dtype=torch.int64))])
    for value in evaluator.compute().values():
        assert value == -1 or 0 <= value <= 1


def test_cap_of_100_per_class_keeps_the_first_of_equal_scores(reference):
    """300 detections of one class with one score, of which only the 100th in the given order is right."""
    annotations = one_image(area=400, iscrowd=0)
    boxes = torch.tensor([[50.0, 50, 60, 60]]).repeat(300, 1)
    results = []
    for right in (99, 100):
        boxes[:] = torch.tensor([50.0, 50, 60, 60])
        boxes[right] = torch.tensor([10.0, 10, 30, 30])
        evaluator = CocoEvaluator(annotations)
        evaluator.update([5], [Detections(boxes.clone(), torch.ones(300), torch.zeros(300, dtype=torch.int64))])
        assert len(evaluator.results()) == 100
        results.append(evaluator.compute()["AR100"])
    assert results == [1, 0]


def test_map_by_name_when_ids_differ(make_problem):
    problem = make_problem(0)
    expected = evaluated(problem, "bbox").compute()
    problem.categories = [Category(100 + i, category.name) for i, category in enumerate(problem.categories)]
    assert evaluated(problem, "bbox").compute() == expected


def test_default_categories_are_sorted_by_id():
    annotations = one_image()
    annotations["categories"] = [{"id": 9, "name": "late"}, {"id": 1, "name": "cell"}]
    assert CocoEvaluator(annotations).categories == [Category(1, "cell"), Category(9, "late")]


def test_unknown_category_names_both_lists():
    with pytest.raises(InputError, match=r"'horse'.*\['cell', 'horse'\].*\['cell'\]"):
        CocoEvaluator(one_image(), categories=[Category(1, "cell"), Category(2, "horse")])


@pytest.mark.parametrize("iou_type", IOU_TYPES)
def test_ground_truth_as_detections_is_perfect_also_with_annotation_id_0(make_problem, iou_type):
    problem = make_problem(1)
    annotations = copy.deepcopy(problem.annotations)
    annotations["annotations"] = [a for a in annotations["annotations"] if not a["iscrowd"]]
    for number, annotation in enumerate(annotations["annotations"]):
        annotation["id"] = number
    evaluator = CocoEvaluator(annotations, iou_type)
    labels = {category.id: k for k, category in enumerate(evaluator.categories)}
    coco = COCO()
    coco.dataset = annotations
    coco.createIndex()
    for image_id in evaluator.ground_truth.image_ids:
        for_image = coco.imgToAnns[image_id]
        boxes = torch.tensor([a["bbox"] for a in for_image]).reshape(-1, 4).float()
        boxes[:, 2:] += boxes[:, :2]
        masks = torch.tensor(np.array([coco.annToMask(a) for a in for_image])).bool() if iou_type == "segm" else None
        detections = Detections(
            boxes=boxes,
            scores=torch.ones(len(boxes)),
            labels=torch.tensor([labels[a["category_id"]] for a in for_image], dtype=torch.int64),
            masks=masks if len(boxes) else None,
            keypoints=torch.tensor([a["keypoints"] for a in for_image]).reshape(-1, 17, 3).float()
            if iou_type == "keypoints"
            else None,
        )
        evaluator.update([image_id], [detections])
    numbers = evaluator.compute()
    assert numbers["AP"] == pytest.approx(1)


def test_missing_area_iscrowd_and_info_are_filled_in(make_problem, reference):
    problem = make_problem(2)
    for annotation in problem.annotations["annotations"]:
        annotation["iscrowd"] = 0
        annotation["area"] = annotation["bbox"][2] * annotation["bbox"][3]
        annotation["segmentation"] = []
    expected = reference(problem.annotations, problem.results("bbox"), "bbox")
    for annotation in problem.annotations["annotations"]:
        del annotation["iscrowd"], annotation["area"], annotation["segmentation"], annotation["id"]
    assert evaluated(problem, "bbox").compute() == pytest.approx(expected, abs=1e-12)


def test_missing_area_is_that_of_the_segmentation():
    annotations = one_image(segmentation=[[10, 10, 30, 10, 30, 20, 10, 20]])  # half the box
    assert CocoEvaluator(annotations).ground_truth.objects.areas.tolist() == [200]


def test_annotations_are_not_changed(make_problem):
    problem = make_problem(3)
    before = copy.deepcopy(problem.annotations)
    for iou_type in IOU_TYPES:
        evaluated(problem, iou_type).compute()
    assert problem.annotations == before


def test_string_image_ids(make_problem, reference):
    problem = make_problem(4)
    expected = reference(problem.annotations, problem.results("bbox"), "bbox")
    for entry in (*problem.annotations["images"], *problem.annotations["annotations"]):
        key = "image_id" if "image_id" in entry else "id"
        entry[key] = f"{entry[key]:05d}"
    problem.image_ids = [f"{image_id:05d}" for image_id in problem.image_ids]
    evaluator = evaluated(problem, "bbox")
    assert evaluator.compute() == expected
    assert all(isinstance(result["image_id"], str) for result in evaluator.results())


def test_image_ids_of_tensors_and_arrays():
    for image_ids in (torch.tensor([5]), np.array([5]), (5,)):
        evaluator = CocoEvaluator(one_image())
        evaluator.update(image_ids, [detection(10, 10, 30, 30)])
        assert evaluator.compute()["AP"] == pytest.approx(1)
        json.dumps(evaluator.results())


def test_restricted_to_some_images(make_problem, reference):
    problem = make_problem(5)
    kept = problem.image_ids[:4]
    annotations = copy.deepcopy(problem.annotations)
    annotations["images"] = [image for image in annotations["images"] if image["id"] in kept]
    problem.image_ids, problem.detections = kept, problem.detections[:4]
    expected = reference(annotations, problem.results("bbox"), "bbox")
    assert evaluated(problem, "bbox", image_ids=kept).compute() == pytest.approx(expected, abs=1e-12)


def test_images_never_updated_count_as_misses():
    annotations = one_image()
    annotations["images"].append({"id": 6, "height": 80, "width": 100})
    annotations["annotations"].append({"id": 2, "image_id": 6, "category_id": 1, "bbox": [10, 10, 20, 20]})
    evaluator = CocoEvaluator(annotations)
    evaluator.update([5], [detection(10, 10, 30, 30)])
    assert evaluator.compute()["AR100"] == 0.5


def test_the_later_of_two_updates_counts():
    evaluator = CocoEvaluator(one_image())
    evaluator.update([5, 5], [detection(50, 50, 60, 60), detection(10, 10, 30, 30)])
    assert evaluator.compute()["AP"] == pytest.approx(1)
    assert len(evaluator.results()) == 1


@pytest.mark.parametrize("iou_type", IOU_TYPES)
def test_merged_states_equal_one_evaluator(make_problem, iou_type):
    problem = make_problem(6)
    together = evaluated(problem, iou_type)
    parts = [CocoEvaluator(problem.annotations, iou_type, categories=problem.categories) for _ in range(3)]
    for number, (image_id, detections) in enumerate(zip(problem.image_ids, problem.detections, strict=True)):
        parts[number % 3].update([image_id], [detections])
    parts[1].update(problem.image_ids[:1], problem.detections[:1])  # samplers repeat images to fill the last batch
    states = [pickle.loads(pickle.dumps(part.state())) for part in parts]
    parts[0].merge(states)
    assert parts[0].compute() == together.compute()
    assert len(parts[0].results()) == len(together.results())


def test_reset_forgets_detections_alone():
    evaluator = CocoEvaluator(one_image())
    evaluator.update([5], [detection(10, 10, 30, 30)])
    evaluator.reset()
    assert evaluator.compute()["AP"] == 0
    evaluator.update([5], [detection(10, 10, 30, 30)])
    assert evaluator.compute()["AP"] == pytest.approx(1)


@pytest.mark.parametrize("iou_type", IOU_TYPES)
def test_results_are_cocos_format(make_problem, reference, iou_type):
    problem = make_problem(7)
    evaluator = evaluated(problem, iou_type)
    results = json.loads(json.dumps(evaluator.results()))
    assert reference(problem.annotations, results, iou_type) == pytest.approx(evaluator.compute(), abs=1e-12)


@pytest.mark.parametrize("iou_type", IOU_TYPES)
def test_no_detections_is_0(make_problem, iou_type):
    problem = make_problem(0)
    evaluator = CocoEvaluator(problem.annotations, iou_type)
    assert set(evaluator.compute().values()) == {0.0}
    evaluator.update(problem.image_ids, [Detections.empty()] * len(problem.image_ids))
    assert set(evaluator.compute().values()) == {0.0}
    assert evaluator.results() == []


@pytest.mark.parametrize("iou_type", IOU_TYPES)
def test_nothing_to_measure_is_minus_1(iou_type):
    annotations = one_image()
    annotations["annotations"] = []
    evaluator = CocoEvaluator(annotations, iou_type)
    assert set(evaluator.compute().values()) == {-1.0}
    masks, keypoints = torch.ones(1, 80, 100, dtype=torch.bool), torch.ones(1, 17, 3)
    evaluator.update([5], [detection(10, 10, 30, 30, masks=masks, keypoints=keypoints)])
    assert set(evaluator.compute().values()) == {-1.0}


@pytest.mark.parametrize("iou_type", IOU_TYPES)
@pytest.mark.parametrize("missing", ["images", "categories"])
def test_annotations_of_nothing_are_refused(iou_type, missing):
    annotations = one_image(segmentation=[[10, 10, 30, 10, 30, 30]])
    annotations[missing] = []
    with pytest.raises(InputError, match=f"the list '{missing}' is empty"):
        CocoEvaluator(annotations, iou_type)


def test_only_crowds_is_minus_1():
    evaluator = CocoEvaluator(one_image(iscrowd=1, area=400))
    evaluator.update([5], [detection(10, 10, 30, 30)])
    assert evaluator.compute()["AP"] == -1


def test_keypoints_of_another_number_with_their_sigmas():
    annotations = one_image(keypoints=[12, 12, 2, 20, 20, 1, 0, 0, 0])
    with pytest.raises(InputError, match=r"3 keypoints, but there are 17 keypoint_sigmas"):
        CocoEvaluator(annotations, "keypoints")
    evaluator = CocoEvaluator(annotations, "keypoints", keypoint_sigmas=[0.05] * 3)
    keypoints = torch.tensor([[[12.0, 12, 1], [20, 20, 1], [70, 70, 1]]])
    evaluator.update([5], [detection(10, 10, 30, 30, keypoints=keypoints)])
    assert evaluator.compute()["AP"] == pytest.approx(1)


def test_an_object_without_segmentation_counts_as_its_box(caplog):
    annotations = one_image([[10, 10, 20, 20], [50, 50, 10, 10]])
    annotations["annotations"][0]["segmentation"] = [[10, 10, 30, 10, 30, 30, 10, 30]]
    evaluator = CocoEvaluator(annotations, "segm")
    assert "1 of 2 objects have no segmentation" in caplog.text
    masks = torch.zeros(1, 80, 100, dtype=torch.bool)
    masks[0, 50:60, 50:60] = True
    evaluator.update([5], [detection(50, 50, 60, 60, masks=masks)])
    assert evaluator.compute()["AR100"] == 0.5


def test_prints_nothing(make_problem, capsys):
    evaluated(make_problem(0), "bbox").compute()
    assert capsys.readouterr().out == ""


def test_per_class(make_problem):
    problem = make_problem(0)
    evaluation = evaluated(problem, "bbox").evaluate()
    table = evaluation.per_class()
    assert list(table) == ["cat", "dog", "never seen", "bird"]  # by id: 3, 7, 12, 20
    numbers = dict.fromkeys(["AP", "AP50", "APs", "APm", "APl", "AR100"], -1)
    assert table["never seen"] == numbers | {"objects": 0, "images": 0}
    seen = [row["AP"] for row in table.values() if row["AP"] != -1]
    assert np.mean(seen) == pytest.approx(evaluation.metrics["AP"])
    cats = [a for a in problem.annotations["annotations"] if a["category_id"] == 3 and not a["iscrowd"]]
    assert table["cat"]["objects"] == len(cats)
    assert table["cat"]["images"] == len({a["image_id"] for a in cats})


MASKS = torch.ones(1, 80, 100, dtype=torch.bool)
WRONG_UPDATES = {
    "unknown image": ("bbox", 9, detection(1, 1, 2, 2), "image id 9 is not among the 1 images of annotations"),
    "image id of another type": ("bbox", "5", detection(1, 1, 2, 2), "image id '5'"),
    "score not a number": ("bbox", 5, detection(1, 1, 2, 2, score=float("nan")), "image 5: scores"),
    "infinite box": ("bbox", 5, detection(1, 1, float("inf"), 2), "image 5: boxes"),
    "label beyond": ("bbox", 5, detection(1, 1, 2, 2, label=1), r"label 1 is outside 0\.\.0"),
    "negative label": ("bbox", 5, detection(1, 1, 2, 2, label=-1), "label -1"),
    "no masks": ("segm", 5, detection(1, 1, 2, 2), "image 5 have no masks"),
    "masks of another size": ("segm", 5, detection(1, 1, 2, 2, masks=MASKS[:, :9]), r"\(9, 100\).*\(80, 100\)"),
    "no keypoints": ("keypoints", 5, detection(1, 1, 2, 2), "image 5 have no keypoints"),
    "other keypoints": ("keypoints", 5, detection(1, 1, 2, 2, keypoints=torch.ones(1, 4, 3)), "4 keypoints each"),
}


@pytest.mark.parametrize(("iou_type", "image_id", "detections", "message"), WRONG_UPDATES.values(), ids=WRONG_UPDATES)
def test_wrong_updates(iou_type, image_id, detections, message):
    evaluator = CocoEvaluator(one_image(segmentation=[[10, 10, 30, 10, 30, 30]]), iou_type)
    with pytest.raises(InputError, match=message):
        evaluator.update([image_id], [detections])
    assert evaluator.results() == []


def test_update_needs_as_many_ids_as_detections():
    with pytest.raises(InputError, match="1 image ids for the detections of 2 images"):
        CocoEvaluator(one_image()).update([5], [Detections.empty()] * 2)


def test_unknown_choices():
    with pytest.raises(InputError, match="iou_type is 'box'"):
        CocoEvaluator(one_image(), iou_type="box")
    with pytest.raises(InputError, match="backend is 'fast'"):
        CocoEvaluator(one_image(), backend="fast")


def test_labels_without_a_class_are_left_out():
    categories = [Category(1, "N/A"), Category(2, "cell"), Category(3, "N/A")]
    evaluator = CocoEvaluator(one_image(), categories=categories)
    boxes = torch.tensor([[10.0, 10, 30, 30]] * 3)
    evaluator.update([5], [Detections(boxes, torch.tensor([0.9, 0.8, 0.7]), torch.tensor([0, 1, 2]))])
    assert [result["category_id"] for result in evaluator.results()] == [1]
    assert evaluator.compute()["AP"] == pytest.approx(1)


@pytest.mark.parametrize("iou_type", IOU_TYPES)
def test_both_backends_agree(make_problem, iou_type):
    problem = make_problem(8)
    native, reference = (evaluated(problem, iou_type, backend=name) for name in ("native", "pycocotools"))
    assert native.compute() == pytest.approx(reference.compute(), abs=1e-12)
