"""Wrong annotation files are named, with the annotation."""

import json

import numpy as np
import pytest

from detkit.errors import InputError
from detkit.evaluation.files.annotations_file import read_ground_truth


def content(**annotation):
    polygon = [[1, 1, 9, 1, 9, 9]]
    complete = {"id": 3, "image_id": 5, "category_id": 1, "bbox": [1, 1, 8, 8], "segmentation": polygon} | annotation
    return {
        "images": [{"id": 5, "height": 20, "width": 30}],
        "categories": [{"id": 1, "name": "cell"}],
        "annotations": [{name: value for name, value in complete.items() if value is not None}],
    }


WRONG_ANNOTATIONS = {
    "no image": ("bbox", {"image_id": None}, "annotations: annotation 3 has no 'image_id'"),
    "no category": ("bbox", {"category_id": None}, "annotation 3 has no 'category_id'"),
    "short box": ("bbox", {"bbox": [1, 2, 3]}, r"annotation 3 of image 5 has bbox \[1, 2, 3\]"),
    "box not finite": ("bbox", {"bbox": [1, 2, float("nan"), 4]}, "annotation 3 of image 5 has bbox"),
    "no box": ("bbox", {"bbox": None, "segmentation": None}, "annotation 3 of image 5 has bbox None"),
    "area in words": ("bbox", {"area": "large"}, "annotation 3 of image 5 has area 'large'"),
    "no masks at all": ("segm", {"segmentation": None}, "annotations has no segmentations"),
    "odd mask": ("segm", {"segmentation": {"counts": "x"}, "bbox": None}, "annotation 3 of image 5 has no usable segm"),
    "mask of another size": ("segm", {"segmentation": {"size": [9, 9], "counts": [81]}}, r"size \[9, 9\] is not the"),
    "odd polygon": ("segm", {"segmentation": [[1, "a", 3, 4, 5, 6]]}, "annotation 3 of image 5 has no usable segm"),
    "odd keypoints": ("keypoints", {"keypoints": [1, 2]}, "annotation 3 of image 5 has keypoints that"),
}


@pytest.mark.parametrize(("iou_type", "change", "message"), WRONG_ANNOTATIONS.values(), ids=WRONG_ANNOTATIONS)
def test_wrong_annotations(iou_type, change, message):
    with pytest.raises(InputError, match=message):
        read_ground_truth(content(**change), iou_type)


@pytest.mark.parametrize("key", ["images", "annotations", "categories"])
def test_missing_list(key):
    annotations = content()
    del annotations[key]
    with pytest.raises(InputError, match=f"annotations: the list '{key}' is missing"):
        read_ground_truth(annotations, "bbox")


def test_wrong_files(tmp_path):
    with pytest.raises(InputError, match=r"absent\.json does not exist"):
        read_ground_truth(tmp_path / "absent.json", "bbox")
    with pytest.raises(InputError, match="is a folder"):
        read_ground_truth(tmp_path, "bbox")
    broken = tmp_path / "broken.json"
    broken.write_text('{"images": [')
    with pytest.raises(InputError, match=r"broken\.json: this is not a whole JSON file"):
        read_ground_truth(broken, "bbox")
    broken.write_text("[]")
    with pytest.raises(InputError, match=r"broken\.json: a COCO file is a JSON object, this one holds a list"):
        read_ground_truth(str(broken), "bbox")


def test_file_and_its_content_are_the_same(tmp_path):
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(content(area=20.5, iscrowd=1)))
    from_file, from_content = read_ground_truth(path, "segm"), read_ground_truth(content(area=20.5, iscrowd=1), "segm")
    for name, expected in vars(from_content.objects).items():
        result = getattr(from_file.objects, name)
        if name == "masks":
            assert [result.encoded(0)] == [expected.encoded(0)]
        else:
            assert np.array_equal(result, expected), name
    assert from_file.image_sizes == from_content.image_sizes
    assert from_file.source == str(path)


def test_unknown_restriction():
    with pytest.raises(InputError, match="image_ids: 6 is not an image of annotations"):
        read_ground_truth(content(), "bbox", image_ids=[5, 6])


@pytest.mark.parametrize("key", ["image_id", "category_id"])
@pytest.mark.parametrize("value", [99, "5", "1"])
def test_annotations_of_unlisted_images_and_categories_are_refused(tmp_path, key, value):
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(content(**{key: value})))
    for given in (path, content(**{key: value})):
        with pytest.raises(InputError, match=rf"annotation 3 refers to {key} {value!r}.*its ids are [0-9]+\)"):
            read_ground_truth(given, "bbox")


def test_box_of_segmentation():
    truth = read_ground_truth(content(bbox=None), "bbox")
    x, y, width, height = truth.objects.boxes[0]
    assert (x, y, x + width, y + height) == (1, 1, 9, 9)


def test_keypoints_are_counted():
    truth = read_ground_truth(content(keypoints=[1, 1, 2, 3, 3, 1, 0, 0, 0]), "keypoints")
    assert truth.objects.num_keypoints.tolist() == [2]
