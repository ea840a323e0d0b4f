import json
import logging
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from image_files import noise, write_image
from PIL import Image
from pycocotools import mask as rle
from pycocotools.coco import COCO

from detkit.data import CocoDataset, find_split
from detkit.errors import InputError
from detkit.images import read_image
from detkit.structures import Category


def test_images_and_targets(coco_folder):
    images, annotations = coco_folder()
    dataset = CocoDataset(images, annotations)
    assert len(dataset) == 3
    assert dataset.image_ids == [10, 20, 30]
    assert dataset.categories == [Category(3, "three"), Category(7, "seven")]
    assert dataset.image_sizes.tolist() == [[40, 60], [50, 30], [32, 32]]
    assert dataset.annotations_path == annotations
    image, target = dataset[1]
    assert image.dtype == torch.uint8
    assert torch.equal(image.permute(1, 2, 0), torch.from_numpy(read_image(images / "b.png")))
    assert target.image_id == 20
    assert target.boxes.tolist() == [[5.0, 6.5, 15.0, 26.75], [1, 2, 4, 6], [2, 2, 10, 10]]
    assert target.labels.tolist() == [1, 0, 1]
    assert target.iscrowd.tolist() == [False, True, True]  # the last by `ignore`
    assert target.area.tolist() == [150.0, 12.0, 64.0]  # the box's where not annotated
    assert target.masks is None
    assert target.keypoints is None


def test_image_without_objects(coco_folder):
    dataset = CocoDataset(*coco_folder(), reads=["masks"])
    _, target = dataset[2]
    assert len(target) == 0
    assert target.boxes.shape == (0, 4)
    assert target.masks.shape == (0, 32, 32)


def test_no_annotations_at_all(coco_folder):
    dataset = CocoDataset(*coco_folder(annotations=[]), reads=["masks"])
    assert [len(target) for _, target in dataset] == [0, 0, 0]


def test_index_out_of_range(coco_folder):
    dataset = CocoDataset(*coco_folder())
    assert dataset[-1][1].image_id == 30
    with pytest.raises(IndexError):
        dataset[3]


def test_targets_do_not_share_memory_with_the_dataset(coco_folder):
    dataset = CocoDataset(*coco_folder())
    dataset[1][1].boxes.zero_()
    assert dataset[1][1].boxes.min() > 0


def test_string_ids_and_subfolders(tmp_path: Path):
    write_image(tmp_path / "deep" / "er" / "x.png", noise(10, 12))
    content = {
        "images": [{"id": "first", "file_name": "deep/er/x.png"}],
        "annotations": [{"id": "a", "image_id": "first", "category_id": 0, "bbox": [1, 1, 4, 5]}],
        "categories": [{"id": 0, "name": "thing"}],
    }
    (tmp_path / "x.json").write_text(json.dumps(content))
    dataset = CocoDataset(tmp_path, tmp_path / "x.json")
    assert dataset.image_ids == ["first"]
    assert dataset[0][1].image_id == "first"
    assert dataset.image_sizes.tolist() == [[10, 12]]  # from the file


def test_missing_size_of_a_rotated_file(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise(20, 30)).save(tmp_path / "x.jpg", exif=exif)
    content = {
        "images": [{"id": 1, "file_name": "x.jpg"}],
        "annotations": [],
        "categories": [{"id": 1, "name": "thing"}],
    }
    (tmp_path / "x.json").write_text(json.dumps(content))
    dataset = CocoDataset(tmp_path, tmp_path / "x.json")
    assert dataset.image_sizes.tolist() == [[30, 20]]
    assert dataset[0][0].shape == (3, 30, 20)


@pytest.mark.parametrize("seed", range(3))
def test_masks_are_those_of_pycocotools(coco_folder, seed: int):
    random = np.random.default_rng(seed)
    blob = random.random((40, 60)) < 0.3
    compressed = rle.encode(np.asfortranarray(blob, dtype=np.uint8))
    compressed["counts"] = compressed["counts"].decode()
    runs = np.flatnonzero(np.diff(np.concatenate([[False], blob.ravel(order="F"), [False]])))
    counts = np.diff(np.concatenate([[0], runs, [blob.size]])).tolist()
    polygons = [(random.random(8) * 40).round(2).tolist(), (random.random(6) * 40).round(2).tolist()]
    segmentations = [polygons, {"size": [40, 60], "counts": counts}, compressed]
    box = {"image_id": 10, "category_id": 3, "bbox": [2, 3, 10, 20]}
    annotations = [{"id": number, "segmentation": s, **box} for number, s in enumerate(segmentations, 1)]
    annotations.append({"id": 9, **box})  # none: the box, filled
    images, path = coco_folder(annotations=annotations)
    masks = CocoDataset(images, path, reads=["masks"])[0][1].masks
    reference = COCO(path)
    for mask, annotation in zip(masks[:3], annotations[:3], strict=True):
        assert np.array_equal(mask.numpy(), reference.annToMask(reference.anns[annotation["id"]]).astype(bool))
    assert np.array_equal(masks[2].numpy(), blob)
    expected = torch.zeros(40, 60, dtype=torch.bool)
    expected[3:23, 2:12] = True
    assert torch.equal(masks[3], expected)


def test_keypoints(coco_folder):
    categories = [{"id": 3, "name": "three", "keypoints": ["nose", "left_eye", "right_eye"]}, {"id": 7, "name": "x"}]
    annotations = [
        {"id": 1, "image_id": 10, "category_id": 3, "bbox": [0, 0, 9, 9], "keypoints": [1, 2.5, 2, 3, 4, 1, 0, 0, 0]},
        {"id": 2, "image_id": 10, "category_id": 7, "bbox": [0, 0, 9, 9]},
    ]
    dataset = CocoDataset(*coco_folder(categories=categories, annotations=annotations), reads=["keypoints"])
    assert dataset.keypoint_names == ["nose", "left_eye", "right_eye"]
    assert dataset.keypoint_pairs == [(1, 2)]
    keypoints = dataset[0][1].keypoints
    assert keypoints[0].tolist() == [[1, 2.5, 2], [3, 4, 1], [0, 0, 0]]
    assert not keypoints[1].any()
    assert dataset[2][1].keypoints.shape == (0, 3, 3)


def test_keypoints_of_a_file_without(coco_folder):
    with pytest.raises(InputError, match="no category names its 'keypoints'"):
        CocoDataset(*coco_folder(), reads=["keypoints"])


def test_packed_annotations_hold_no_object_per_annotation(tmp_path: Path):
    """The pickled data set, which is what a spawned worker holds, grows by bytes, not by Python objects."""
    images = [{"id": n, "file_name": "x.png", "height": 9, "width": 9} for n in range(2000)]
    annotations = [{"id": n, "image_id": n % 2000, "category_id": 1, "bbox": [1, 1, 3, 3]} for n in range(20_000)]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "thing"}]}
    (tmp_path / "x.json").write_text(json.dumps(content))
    write_image(tmp_path / "x.png", noise(9, 9))
    dataset = CocoDataset(tmp_path, tmp_path / "x.json")
    assert len(pickle.dumps(dataset)) < 60 * len(annotations)
    assert pickle.dumps(dataset).count(b"bbox") == 0


# ---- boxes ----


def box(x, y, width, height, **more):
    return {"id": 1, "image_id": 10, "category_id": 3, "bbox": [x, y, width, height], **more}


def test_boxes_partly_outside_are_clipped(coco_folder, caplog):
    images, path = coco_folder(annotations=[box(-5, 10, 20, 100), box(50, -0.5, 10.25, 30) | {"id": 2}])
    with caplog.at_level(logging.WARNING):
        dataset = CocoDataset(images, path)
    assert dataset[0][1].boxes.tolist() == [[0, 10, 15, 40], [50, 0, 60, 29.5]]
    assert [record.message for record in caplog.records if "1 of 2 boxes reach" in record.message]


BAD_BOXES = [(1, 1, 0, 5), (1, 1, 5, -2), (60, 3, 5, 5), (-9, 3, 9, 5), (3, 41, 5, 5), (1e9, 1, 1e-9, 1)]


@pytest.mark.parametrize("bad", BAD_BOXES)
def test_bad_box_is_an_error(coco_folder, bad):
    images, path = coco_folder(annotations=[box(1, 2, 3, 4), box(*bad) | {"id": 77}])
    with pytest.raises(InputError, match=r"instances_train.json: 1 of 2 boxes.*annotation 77 of image 10.*on_bad_box"):
        CocoDataset(images, path)


@pytest.mark.parametrize("bad", BAD_BOXES)
def test_bad_box_can_be_left_out(coco_folder, caplog, bad):
    images, path = coco_folder(annotations=[box(*bad) | {"id": 77}, box(1, 2, 3, 4)])
    with caplog.at_level(logging.WARNING):
        dataset = CocoDataset(images, path, on_bad_box="skip")
    assert dataset[0][1].boxes.tolist() == [[1, 2, 4, 6]]
    assert "1 of 2 boxes" in caplog.text
    assert [annotation["id"] for annotation in dataset.ground_truth()["annotations"]] == [1]
    assert len(dataset.ground_truth()["images"]) == 3


@pytest.mark.parametrize("bad", ["NaN", "Infinity", "null", '"7"', "[1]", "true, 3"])
def test_box_that_is_no_four_numbers(coco_folder, bad: str):
    images, path = coco_folder(annotations=[box(1, 2, 3, 123456)])
    path.write_text(path.read_text().replace("123456", bad))
    for policy in ("error", "skip"):
        with pytest.raises(InputError, match="annotation 1 of image 10 has bbox"):
            CocoDataset(images, path, on_bad_box=policy)


# ---- the annotation file ----


def image(number, **more):
    return {"id": number, "file_name": "a.png", "height": 40, "width": 60, **more}


WRONG = {
    "image id 10 is used twice": {"images": [image(10), image(10)], "annotations": []},
    "annotation id 1 is used twice": {"annotations": [box(1, 1, 2, 2), box(1, 1, 3, 3)]},
    "category id 3 is used twice": {"categories": [{"id": 3, "name": "a"}, {"id": 3, "name": "b"}]},
    "annotation 1 refers to category_id 5, which": {"annotations": [box(1, 1, 2, 2) | {"category_id": 5}]},
    "annotation 1 refers to image_id 11, which": {"annotations": [box(1, 1, 2, 2) | {"image_id": 11}]},
    "annotation 1 refers to image_id '10', which": {"annotations": [box(1, 1, 2, 2) | {"image_id": "10"}]},
    r"annotations\[0\] has no 'image_id'": {"annotations": [{"category_id": 3, "bbox": [1, 1, 2, 2]}]},
    "annotation 4 has no 'category_id'": {"annotations": [{"id": 4, "image_id": 10, "bbox": [1, 1, 2, 2]}]},
    "has bbox None": {"annotations": [{"id": 4, "image_id": 10, "category_id": 3}]},
    "'images' is empty": {"images": [], "annotations": []},
    "'categories' is empty": {"categories": [], "annotations": []},
    "'annotations' is missing": {"annotations": None},
    r"image 10 has no 'file_name'": {"images": [{"id": 10}], "annotations": []},
    r"images\[1\] has no 'id'": {"images": [image(10), {"file_name": "a.png"}], "annotations": []},
    r"images\[0\] is a str": {"images": ["a.png"], "annotations": []},
    "all integers or all strings": {"images": [image(10), image("11")], "annotations": []},
    r"categories\[0\] needs an integer 'id' and a 'name'": {"categories": [{"id": "3", "name": "a"}]},
    "has width -60 and height 40": {"images": [image(10, width=-60)], "annotations": []},
    r"file_name.*not a string": {"images": [image(10, file_name=7)], "annotations": []},
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_file_is_one_clear_sentence(coco_folder, message: str):
    images, path = coco_folder(**WRONG[message])
    with pytest.raises(InputError, match=message) as caught:
        CocoDataset(images, path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kept", [0, 1, 30, 200])
def test_cut_short_json(coco_folder, kept: int):
    images, path = coco_folder()
    path.write_text(path.read_text()[:kept])
    with pytest.raises(InputError, match="not a whole JSON file"):
        CocoDataset(images, path)


def test_other_files(coco_folder, tmp_path: Path):
    images, path = coco_folder()
    with pytest.raises(InputError, match="does not exist"):
        CocoDataset(images, tmp_path / "none.json")
    path.write_text("[1, 2]")
    with pytest.raises(InputError, match="holds a list"):
        CocoDataset(images, path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not a whole JSON file"):
        CocoDataset(images, path)


BAD_SEGMENTATIONS = [
    [[1, 2, 3, 4, 5, 6, 7]],
    [["a"] * 6],
    [[1, 2, 3, 4, 5, float("nan")]],
    {"counts": [1]},
    {"size": [40, 60]},
    "x",
]


@pytest.mark.parametrize("segmentation", BAD_SEGMENTATIONS)
def test_bad_segmentation(coco_folder, segmentation):
    images, path = coco_folder(annotations=[box(1, 1, 2, 2, segmentation=segmentation)])
    with pytest.raises(InputError, match="annotation 1 of image 10 has no usable segmentation"):
        CocoDataset(images, path, reads=["masks"])
    images, path = coco_folder(annotations=[box(1, 1, 2, 2, segmentation=segmentation, area=4)])
    assert len(CocoDataset(images, path)[0][1]) == 1  # not looked at without masks


@pytest.mark.parametrize("segmentation", [[], None, [[]], [[1, 2, 3, 4]]])
def test_object_without_a_mask_is_its_box(coco_folder, caplog, segmentation):
    images, path = coco_folder(annotations=[box(1, 1, 2, 2, segmentation=segmentation)])
    with caplog.at_level(logging.WARNING):
        mask = CocoDataset(images, path, reads=["masks"])[0][1].masks[0]
    assert mask[1:3, 1:3].all()
    assert mask.sum() == 4
    assert "1 of 1 objects have no mask" in caplog.text


def test_rle_of_another_size(coco_folder):
    images, path = coco_folder(annotations=[box(1, 1, 2, 2, segmentation={"size": [60, 40], "counts": [2400]})])
    with pytest.raises(InputError, match=r"image 10 has .*its size \[60, 40\] is not the image's \[40, 60\]"):
        CocoDataset(images, path, reads=["masks"])


@pytest.mark.parametrize("counts", ["abc", "", "é", [5000, 3], [2399], [-3, 2403], [2399.5, 0.5], ["a"], [None], {}, 7])
def test_broken_run_lengths(coco_folder, counts):
    images, path = coco_folder(annotations=[box(1, 1, 2, 2, segmentation={"size": [40, 60], "counts": counts})])
    with pytest.raises(InputError, match="annotation 1 of image 10 has no usable segmentation: its? "):
        CocoDataset(images, path, reads=["masks"])


@pytest.mark.parametrize("keypoints", [[1, 2], [1, 2, "x"], [1, 2, float("inf")]])
def test_bad_keypoints(coco_folder, keypoints):
    categories = [{"id": 3, "name": "three", "keypoints": ["nose"]}]
    images, path = coco_folder(categories=categories, annotations=[box(1, 1, 2, 2, keypoints=keypoints)])
    with pytest.raises(InputError, match="annotation 1 of image 10 has keypoints that are not 3 finite numbers"):
        CocoDataset(images, path, reads=["keypoints"])


# ---- image files ----


def test_missing_image_file_is_found_at_once(coco_folder):
    images, path = coco_folder()
    (images / "b.png").unlink()
    with pytest.raises(InputError, match=r"1 of 3 image files are not in .*first: b.png.*on_bad_image skip"):
        CocoDataset(images, path)


def test_broken_image_is_an_error_when_met(coco_folder):
    images, path = coco_folder()
    whole = (images / "b.png").read_bytes()
    (images / "b.png").write_bytes(whole[: len(whole) // 2])
    dataset = CocoDataset(images, path)
    dataset[0]
    with pytest.raises(InputError, match=r"b.png.*cut short.*image id 20"):
        dataset[1]


def test_size_mismatch_names_both(coco_folder):
    images, path = coco_folder()
    write_image(images / "b.png", noise(60, 30))
    with pytest.raises(InputError, match=r"b.png.*30x60.*says 30x50.*image id 20"):
        CocoDataset(images, path)[1]


@pytest.mark.parametrize("damage", ["missing", "cut", "empty", "text", "size"])
def test_bad_image_can_be_left_out(coco_folder, caplog, damage: str):
    images, path = coco_folder()
    victim = images / "b.png"
    whole = victim.read_bytes()
    victim.unlink()
    if damage == "size":
        write_image(victim, noise(60, 30))
    elif damage != "missing":
        victim.write_bytes({"cut": whole[:-50], "empty": b"", "text": b"hello"}[damage])
    with caplog.at_level(logging.WARNING):
        dataset = CocoDataset(images, path, reads=["masks"], on_bad_image="skip")
    assert dataset.image_ids == [10, 30]
    assert [target.image_id for _, target in dataset] == [10, 30]
    assert [len(target) for _, target in dataset] == [1, 0]
    assert caplog.text.count("b.png") == 1
    assert "1 of 3 images were left out" in caplog.text
    truth = dataset.ground_truth()
    assert [entry["id"] for entry in truth["images"]] == [10, 30]
    assert [entry["id"] for entry in truth["annotations"]] == [2]


def test_no_readable_image(coco_folder):
    images, path = coco_folder()
    for file in images.iterdir():
        file.write_bytes(b"x")
    with pytest.raises(InputError, match="none of the 3 images"):
        CocoDataset(images, path, on_bad_image="skip")


def test_ground_truth_of_a_whole_data_set_is_its_file(coco_folder):
    images, path = coco_folder()
    assert CocoDataset(images, path).ground_truth() == path


def test_unreadable_size(coco_folder):
    images, path = coco_folder(images=[{"id": 10, "file_name": "x.png"}, image(11)], annotations=[])
    (images / "x.png").write_text("no image")
    with pytest.raises(InputError, match=r"x\.png"):
        CocoDataset(images, path)
    assert CocoDataset(images, path, on_bad_image="skip").image_ids == [11]


# ---- find_split ----


def layout(root: Path, annotations: str, image_folder: str, file_name: str = "a.png") -> None:
    write_image(root / image_folder / file_name, noise(8, 8))
    (root / annotations).parent.mkdir(parents=True, exist_ok=True)
    images = [{"id": 1, "file_name": file_name, "height": 8, "width": 8}]
    content = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "x"}]}
    (root / annotations).write_text(json.dumps(content))


@pytest.mark.parametrize(
    "annotations",
    [
        "annotations/val.json",
        "annotations/instances_val.json",
        "annotations/instances_val2017.json",
        "annotations/person_keypoints_val.json",
        "annotations/person_keypoints_val2017.json",
        "val.json",
    ],
)
@pytest.mark.parametrize("images", ["images", "images/val", "val", "val2017", "images/val2014"])
def test_layouts(tmp_path: Path, annotations: str, images: str):
    layout(tmp_path, annotations, images)
    result = find_split(tmp_path, "val")
    assert result == (tmp_path / images, tmp_path / annotations)
    assert len(CocoDataset(*result)) == 1


@pytest.mark.parametrize("name", ["val", "valid"])
def test_annotations_beside_their_images(tmp_path: Path, name: str):
    layout(tmp_path, f"{name}/_annotations.coco.json", name)
    assert find_split(tmp_path, "val") == (tmp_path / name, tmp_path / name / "_annotations.coco.json")


def test_images_folder_is_where_the_files_are(tmp_path: Path):
    layout(tmp_path, "annotations/val.json", "images", "val/a.png")  # the JSON says val/a.png
    assert find_split(tmp_path, "val") == (tmp_path / "images", tmp_path / "annotations" / "val.json")


def test_instances_come_before_other_annotations(tmp_path: Path):
    layout(tmp_path, "annotations/captions_val2017.json", "val2017")
    layout(tmp_path, "annotations/instances_val2017.json", "val2017")
    assert find_split(tmp_path, "val")[1].name == "instances_val2017.json"


def test_nothing_found_says_what_was_looked_for_and_what_is_there(tmp_path: Path):
    with pytest.raises(InputError, match="no such folder"):
        find_split(tmp_path / "none", "val")
    layout(tmp_path, "annotations/instances_train.json", "pictures")
    with pytest.raises(InputError, match=r"split 'val'.*instances_val.json.*found annotations.instances_train.json"):
        find_split(tmp_path, "val")
    with pytest.raises(InputError, match=r"images/train.*found the folders annotations, pictures"):
        find_split(tmp_path, "train")


def test_ambiguous_annotations(tmp_path: Path):
    layout(tmp_path, "annotations/a_val.json", "images")
    layout(tmp_path, "annotations/b_val.json", "images")
    with pytest.raises(InputError, match=r"a_val.json, b_val.json.*val_annotations"):
        find_split(tmp_path, "val")
