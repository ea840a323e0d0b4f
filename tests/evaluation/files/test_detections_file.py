"""Files of detections: the numbers of pycocotools on the same files, and every wrong entry named."""

import json

import numpy as np
import pytest
from pycocotools import mask as rle_masks

from detkit.errors import InputError
from detkit.evaluation import CocoEvaluator, evaluate_detections_file, evaluate_files
from detkit.ops import backend as ops_backend

ANNOTATIONS = {
    "images": [{"id": 5, "height": 80, "width": 100}],
    "categories": [{"id": 1, "name": "cell"}],
    "annotations": [
        {"id": 1, "image_id": 5, "category_id": 1, "bbox": [10, 10, 20, 20], "segmentation": [[10, 10, 30, 10, 30, 30]]}
    ],
}
MASK = {"size": [80, 100], "counts": rle_masks.encode(np.ones((80, 100), np.uint8, order="F"))["counts"].decode()}


def written(folder, annotations, results):
    paths = folder / "annotations.json", folder / "detections.json"
    for path, content in zip(paths, (annotations, results), strict=True):
        path.write_text(json.dumps(content))
    return paths


@pytest.mark.parametrize(
    ("iou_type", "holds", "with_boxes"),
    [
        ("bbox", "bbox", True),
        ("bbox", "segm", False),
        ("bbox", "keypoints", False),
        ("bbox", "segm", True),
        ("segm", "segm", False),
        ("segm", "segm", True),
        ("keypoints", "keypoints", False),
        ("keypoints", "keypoints", True),
    ],
)
def test_equals_pycocotools(tmp_path, make_problem, reference, iou_type, holds, with_boxes):
    for seed in (10, 11):
        problem = make_problem(seed)
        results = problem.results(holds, with_boxes)
        paths = written(tmp_path, problem.annotations, results)
        expected = reference(problem.annotations, results, iou_type)
        assert evaluate_files(*paths, iou_type) == pytest.approx(expected, abs=1e-12)


def test_polygons_and_uncompressed_run_lengths(make_problem, reference):
    problem = make_problem(12)
    results = problem.results("segm", with_boxes=True)
    for number, result in enumerate(results):
        x, y, width, height = result["bbox"]
        size = result["segmentation"]["size"]
        polygons = [[x, y, x + width, y, x + width, y + height]]
        result["segmentation"] = {"size": size, "counts": [3, 500, size[0] * size[1] - 503]} if number % 3 else polygons
    expected = reference(problem.annotations, results, "segm")
    assert evaluate_files(problem.annotations, results, "segm") == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("iou_type", ["bbox", "segm", "keypoints"])
def test_ids_of_any_size(tmp_path, make_problem, reference, iou_type):
    """Beyond what a double holds exactly, and negative; the detections are in a file, and in memory."""
    problem = make_problem(15)
    huge = {image["id"]: 2**62 + image["id"] if number % 2 else -image["id"] for number, image in
            enumerate(problem.annotations["images"])}  # fmt: skip
    categories = {category["id"]: 2**60 + category["id"] if number % 2 else -category["id"] for number, category in
                  enumerate(problem.annotations["categories"])}  # fmt: skip
    results = problem.results(iou_type)
    problem.annotations["categories"] = [
        {**entry, "id": categories[entry["id"]]} for entry in problem.annotations["categories"]
    ]
    problem.annotations["images"] = [{**entry, "id": huge[entry["id"]]} for entry in problem.annotations["images"]]
    for entry in (*problem.annotations["annotations"], *results):
        entry["image_id"], entry["category_id"] = huge[entry["image_id"]], categories[entry["category_id"]]
    expected = reference(problem.annotations, results, iou_type)
    paths = written(tmp_path, problem.annotations, results)
    assert evaluate_files(*paths, iou_type) == pytest.approx(expected, abs=1e-12)
    assert evaluate_files(problem.annotations, results, iou_type) == pytest.approx(expected, abs=1e-12)


def test_quick_and_careful_readers_read_the_same(tmp_path, make_problem):
    problem = make_problem(16)
    for iou_type in ("bbox", "segm", "keypoints"):
        results = problem.results(iou_type)
        paths = written(tmp_path, problem.annotations, results)
        quick = evaluate_detections_file(*paths, iou_type)
        careful = evaluate_detections_file(problem.annotations, results, iou_type)
        for part, other in (
            (quick.detections, careful.detections),
            (quick.ground_truth.objects, careful.ground_truth.objects),
        ):
            for name, value in vars(part).items():
                if isinstance(value, np.ndarray):
                    np.testing.assert_array_equal(value, getattr(other, name), err_msg=name)
            if part.masks is not None:
                assert part.masks.strings.tobytes() == other.masks.strings.tobytes()


def test_the_quick_reader_reads_ordinary_files(tmp_path, make_problem, monkeypatch):
    """Crowds as lengths of runs, polygons, objects without keypoints and images of some only among them."""
    problem = make_problem(17)
    monkeypatch.setattr("detkit.evaluation.files.annotations_file.read_coco_file", None)
    monkeypatch.setattr("detkit.evaluation.files.detections_file.read_json", None)
    if ops_backend() == "reference":
        pytest.skip("the native kernels were not built")
    for iou_type in ("bbox", "segm", "keypoints"):
        annotations, results = written(tmp_path, problem.annotations, problem.results(iou_type))
        assert evaluate_files(annotations, results, iou_type)["AP"] > 0
        some = CocoEvaluator(annotations, iou_type, image_ids=problem.image_ids[:3])
        assert 0 < len(some.ground_truth.objects) < len(problem.annotations["annotations"])


def test_entries_are_not_changed(make_problem):
    problem = make_problem(13)
    results, again = problem.results("segm"), problem.results("segm")
    evaluate_files(problem.annotations, results, "segm")
    assert results == again


@pytest.mark.parametrize("iou_type", ["bbox", "segm", "keypoints"])
def test_an_empty_list_is_0(tmp_path, iou_type):
    annotations = ANNOTATIONS | {
        "annotations": [ANNOTATIONS["annotations"][0] | {"area": 5000, "keypoints": [10, 10, 2] * 17}]
    }
    numbers = evaluate_files(*written(tmp_path, annotations, []), iou_type)
    assert numbers["AP"] == 0
    assert set(numbers.values()) <= {0.0, -1.0}


def test_evaluation_has_the_classes(make_problem):
    problem = make_problem(14)
    evaluation = evaluate_detections_file(problem.annotations, problem.results("bbox"))
    assert list(evaluation.per_class()) == ["cat", "dog", "never seen", "bird"]


def test_wrong_files(tmp_path):
    path = tmp_path / "detections.json"
    with pytest.raises(InputError, match=r"detections\.json does not exist"):
        evaluate_files(ANNOTATIONS, path)
    path.write_text("image,score")
    with pytest.raises(InputError, match=r"detections\.json: this is not a whole JSON file"):
        evaluate_files(ANNOTATIONS, path)
    path.write_text(json.dumps(ANNOTATIONS))
    with pytest.raises(InputError, match=r"detections\.json holds a JSON dict, not a list"):
        evaluate_files(ANNOTATIONS, path)


GOOD = {"image_id": 5, "category_id": 1, "score": 0.5, "bbox": [1, 2, 3, 4], "segmentation": MASK}
WRONG_ENTRIES = {
    "not an object": ("bbox", [1, 2], r"entry 1 is \[1, 2\], not an object"),
    "no image id": ("bbox", {"image_id": None}, "entry 1 has no 'image_id'"),
    "no category id": ("bbox", {"category_id": None}, "entry 1 has no 'category_id'"),
    "no score": ("bbox", {"score": None}, "entry 1 has no 'score'"),
    "no box": ("bbox", {"bbox": None}, "entry 1 has no 'bbox'"),
    "unknown image": ("bbox", {"image_id": 77}, "entry 1: image id 77 is not among the 1 images"),
    "image id a list": ("bbox", {"image_id": [5]}, r"entry 1: image id \[5\] is not among"),
    "unknown category": ("bbox", {"category_id": 2}, r"entry 1: category id 2 is not among .* \(\[1\]\)"),
    "category id a list": ("bbox", {"category_id": [1]}, r"entry 1: category id \[1\]"),
    "score not a number": ("bbox", {"score": float("nan")}, "entry 1 has the score nan"),
    "score a word": ("bbox", {"score": "high"}, "entry 1 has the score 'high'"),
    "short box": ("bbox", {"bbox": [1, 2, 3]}, r"entry 1 has the bbox \[1, 2, 3\]"),
    "box not finite": ("bbox", {"bbox": [1, 2, 3, float("inf")]}, r"entry 1 has the bbox"),
    "box of words": ("bbox", {"bbox": ["1", 2, 3, 4]}, r"entry 1 has the bbox"),
    "no mask": ("segm", {"segmentation": None}, "entry 1 has no 'segmentation'"),
    "odd mask": ("segm", {"segmentation": {"size": [80, 100]}}, "entry 1 has no usable segmentation"),
    "mask in words": ("segm", {"segmentation": "all"}, "entry 1 has no usable segmentation"),
    "mask of another size": ("segm", {"segmentation": MASK | {"size": [8, 9]}}, r"entry 1 .* \[8, 9\] .* \[80, 100\]"),
    "no keypoints": ("keypoints", {}, "entry 0 has no 'keypoints'"),
}


@pytest.mark.parametrize(("iou_type", "change", "message"), WRONG_ENTRIES.values(), ids=WRONG_ENTRIES)
def test_wrong_entries(tmp_path, iou_type, change, message):
    entry = GOOD | change if isinstance(change, dict) else change
    entry = {k: v for k, v in entry.items() if v is not None} if isinstance(entry, dict) else entry
    paths = written(tmp_path, ANNOTATIONS, [GOOD, entry])
    with pytest.raises(InputError, match=rf"detections\.json: {message}"):
        evaluate_files(*paths, iou_type)


def test_keypoints_of_another_number():
    entry = {"image_id": 5, "category_id": 1, "score": 0.5, "keypoints": [1, 2, 3]}
    with pytest.raises(InputError, match="entry 0 has keypoints that are not 51 finite numbers"):
        evaluate_files(ANNOTATIONS, [entry], "keypoints")
    evaluate_files(ANNOTATIONS, [entry], "keypoints", keypoint_sigmas=[0.1])
